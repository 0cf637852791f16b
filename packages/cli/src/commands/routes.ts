/** `haus routes`: what strangers may reach through the gateway, without a token. */
import type { HausClient, ItemOf } from '@haus/sdk/client'
import type { Command, Positional } from '../command.ts'
import type { Context } from '../context.ts'
import { exitCodes, usageFailure } from '../failure.ts'
import { collect, notFound } from '../house.ts'
import { relativeTime } from '../output/relative-time.ts'
import type { ParsedArguments } from '../parse-arguments.ts'
import { confirm, yesOption } from './confirm.ts'
import { limitOf, limitOption, noteMore } from './list-limit.ts'

type Route = ItemOf<'listGatewayRoutes'>

const routeArgument: Positional = {
  name: 'ROUTE',
  summary: 'its path, host and path, id, or the end of the id, as the list shows them',
}

/** The contract allows no more. */
const routesMax = 1_000
const bodyMaxBytes = 1024 ** 3
const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const

export const routesCommand: Command = {
  name: 'routes',
  summary: 'publish parts of services: who reaches the gateway reaches them without a token',
  description: [
    'Without a published route the gateway takes requests of services with a token only, at /SERVICE/... of its own address and at the host SERVICE.DOMAIN.',
  ],
  house: true,
  options: [limitOption],
  examples: [
    ['haus routes', 'list them'],
    ['haus routes add shop / --host shop.example.org', 'a whole host for one service'],
    ['haus routes add orders /orders --method GET --strip-prefix', 'one path, read only'],
  ],
  run: list,
  subcommands: [
    {
      name: 'list',
      summary: 'list published routes',
      house: true,
      options: [limitOption],
      run: list,
    },
    {
      name: 'add',
      summary: 'publish a route to a service',
      description: [
        'PATH takes whole segments: /shop takes /shop and /shop/cart, and not /shopping. The longest path wins, and a route with a host wins over one without.',
      ],
      house: true,
      positionals: [
        {
          name: 'SERVICE',
          summary: 'a service, which need not have registered yet',
          complete: 'service',
        },
        { name: 'PATH', summary: 'a path that begins with a slash, such as /shop' },
      ],
      options: [
        { name: 'host', value: 'HOST', summary: 'only requests to this host name' },
        {
          name: 'method',
          value: 'METHOD',
          many: true,
          summary: 'only this method (default: all of them)',
          complete: methods,
        },
        { name: 'strip-prefix', summary: 'the service sees the path without PATH' },
        {
          name: 'body-max',
          value: 'BYTES',
          summary: 'the largest body of a request (default 10485760)',
        },
        {
          name: 'retry-idempotency-key',
          summary:
            'the service knows Idempotency-Key: such a request may be sent to a second instance',
        },
      ],
      run: add,
    },
    {
      name: 'rm',
      summary: 'withdraw a route: it is public no more',
      house: true,
      positionals: [routeArgument],
      options: [yesOption],
      run: remove,
    },
  ],
}

async function list(context: Context, args: ParsedArguments): Promise<number> {
  const { screen } = context
  const { client } = context.house()
  const limit = limitOf(args)
  const page = await collect(limit, (query) => client.call('listGatewayRoutes', { query }))
  if (args.flag('json')) {
    screen.json(page)
    return exitCodes.ok
  }
  if (page.items.length === 0) {
    screen.note('No route is published: the gateway takes requests with a token only.')
    return exitCodes.ok
  }
  screen.table(
    [
      { title: 'HOST', flexible: true },
      { title: 'PATH', flexible: true },
      { title: 'METHODS' },
      { title: 'SERVICE' },
      { title: 'PREFIX' },
      { title: 'CHANGED' },
      { title: 'ID' },
    ],
    page.items.map((route) => [
      route.host ?? 'any',
      route.pathPrefix,
      route.methods?.join(',') ?? 'all',
      route.service,
      route.stripPrefix ? 'stripped' : 'kept',
      relativeTime(route.updatedAt, screen.nowMs),
      route.id.slice(-12),
    ]),
  )
  noteMore(screen, page, limit)
  return exitCodes.ok
}

/** As a person would write it. */
function routeText({ host, pathPrefix }: Pick<Route, 'host' | 'pathPrefix'>): string {
  return `${host ?? ''}${pathPrefix}`
}

async function add(context: Context, args: ParsedArguments): Promise<number> {
  const { screen } = context
  const house = context.house()
  const host = args.text('host')
  const bodyMax = args.integer('body-max', { min: 0, max: bodyMaxBytes })
  const only = args.list('method').map(parseMethod)
  const { body: route } = await house.client.call('createGatewayRoute', {
    body: {
      service: args.positional(0),
      pathPrefix: args.positional(1),
      stripPrefix: args.flag('strip-prefix'),
      ...(host !== undefined && { host }),
      ...(only.length > 0 && { methods: [...new Set(only)] }),
      ...(bodyMax !== undefined && { bodyMaxBytes: bodyMax }),
      ...(args.flag('retry-idempotency-key') && { retryIdempotencyKey: true }),
    },
  })
  if (args.flag('json')) {
    screen.json(route)
    return exitCodes.ok
  }
  screen.print(`${routeText(route)} leads to ${route.service}, for everybody\n`)
  screen.note(`\`haus routes rm ${routeText(route)}\` withdraws it.`)
  return exitCodes.ok
}

function parseMethod(text: string): (typeof methods)[number] {
  const found = methods.find((method) => method === text.toUpperCase())
  if (found !== undefined) return found
  throw usageFailure(`--method must be one of ${methods.join(', ')}.`)
}

async function remove(context: Context, args: ParsedArguments): Promise<number> {
  const { client } = context.house()
  const route = await find(client, args.positional(0))
  await confirm(context, args, `Withdraw ${routeText(route)}, which leads to ${route.service}?`)
  await client.call('deleteGatewayRoute', { params: { id: route.id } })
  if (!args.flag('json')) context.screen.print(`${routeText(route)} is public no more\n`)
  return exitCodes.ok
}

/** What is written exactly counts before the end of an id, and one that fits twice not at all. */
async function find(client: HausClient, wanted: string): Promise<Route> {
  const { items } = await collect(routesMax, (query) => client.call('listGatewayRoutes', { query }))
  const named = items.filter((route) => route.id === wanted || routeText(route) === wanted)
  const found = named.length > 0 ? named : items.filter(({ id }) => id.endsWith(wanted))
  const [route] = found
  if (route === undefined) {
    throw notFound('route', wanted, items.map(routeText), 'gateway_route_not_found')
  }
  if (found.length > 1) {
    throw usageFailure(
      `${found.length} routes fit that, by their methods.`,
      `Name one by its id: ${found.map(({ id }) => id.slice(-12)).join(', ')}.`,
    )
  }
  return route
}
