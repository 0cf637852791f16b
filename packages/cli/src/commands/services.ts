/** `haus services`: who is in the house, and what an operator does with them. */
import type { AnswerOf, HausClient } from '@haus/sdk/client'
import type { Command, Positional } from '../command.ts'
import type { Context } from '../context.ts'
import { exitCodes, Failure, usageFailure } from '../failure.ts'
import { collect } from '../house.ts'
import { addressText, endpointsText } from '../output/address.ts'
import type { Cell } from '../output/table.ts'
import { relativeTime } from '../output/relative-time.ts'
import { parseInteger } from '../parse-arguments.ts'
import type { ParsedArguments } from '../parse-arguments.ts'
import { confirm, yesOption } from './confirm.ts'
import { limitOption, limitOf, noteMore } from './list-limit.ts'
import { explainMissingService } from './service-names.ts'

type Service = Extract<AnswerOf<'getService'>, { readonly status: 200 }>['body']
type Instance = Service['instances'][number]

const nameArgument: Positional = {
  name: 'NAME',
  summary: 'a service, or an alias of one',
  complete: 'service',
}
const instanceArgument: Positional = {
  name: 'INSTANCE',
  summary: 'host:port, or the id or the end of one; absent: all of the service',
  optional: true,
}

export const servicesCommand: Command = {
  name: 'services',
  summary: 'list, show and change services and their instances',
  description: ['Without NAME it lists all services, with NAME it shows one.'],
  house: true,
  positionals: [{ ...nameArgument, optional: true }],
  options: [limitOption],
  examples: [
    ['haus services', 'list them'],
    ['haus services orders', 'show one, with its instances'],
    ['haus services drain orders 10.0.0.7:3000', 'let one instance finish and take nothing new'],
  ],
  run: (context, args) =>
    args.positionals.length === 0 ? list(context, args) : show(context, args),
  subcommands: [
    {
      name: 'list',
      summary: 'list services',
      house: true,
      options: [limitOption],
      run: list,
    },
    {
      name: 'show',
      summary: 'show a service and its instances',
      house: true,
      positionals: [nameArgument],
      run: show,
    },
    {
      name: 'rm',
      summary: 'remove the instances of a service, or one of them, or forget the service',
      description: [
        'They leave every surface at once. Keys, grants, aliases and configuration stay; with --forget only keys and grants do, and the place of the service is free. An instance that is alive and has a lease registers again by itself.',
      ],
      house: true,
      positionals: [nameArgument, instanceArgument],
      options: [
        { name: 'forget', summary: 'the service itself too, or the configuration of a name' },
        yesOption,
      ],
      run: remove,
    },
    change('drain', 'let instances finish what they have and take nothing new', 'is draining', {
      draining: true,
    }),
    change('undrain', 'give drained instances traffic again', 'takes traffic again', {
      draining: false,
    }),
    {
      name: 'maintenance',
      summary: 'take instances out of traffic and probes, or back in',
      house: true,
      positionals: [
        nameArgument,
        { name: 'on|off', summary: 'on or off', complete: ['on', 'off'] },
        instanceArgument,
      ],
      run: (context, args) => {
        const word = args.positional(1)
        if (word !== 'on' && word !== 'off') {
          throw usageFailure(
            'After the name comes on or off.',
            '`haus services maintenance NAME on`',
          )
        }
        const on = word === 'on'
        const done = on ? 'is in maintenance' : 'is back from maintenance'
        return update(context, args, args.positionals[2], { maintenance: on }, done)
      },
    },
    {
      name: 'checks',
      summary: 'show the last checks of an instance',
      house: true,
      positionals: [
        nameArgument,
        {
          ...instanceArgument,
          summary: 'host:port, or the id or the end of one; may be left out if there is only one',
        },
      ],
      run: checks,
    },
    {
      name: 'callers',
      summary: 'say which services may call it through the gateway',
      house: true,
      positionals: [
        nameArgument,
        {
          name: 'CALLER',
          summary: 'a service that may',
          optional: true,
          many: true,
          complete: 'service',
        },
      ],
      options: [
        { name: 'everybody', summary: 'every service may' },
        { name: 'nobody', summary: 'no service may' },
      ],
      run: callers,
    },
    {
      name: 'alias',
      summary: 'set the other names of a service',
      description: ['An alias is valid wherever the name is, and unique in the house.'],
      house: true,
      positionals: [
        nameArgument,
        { name: 'ALIAS', summary: 'such as zimmer-02', optional: true, many: true },
      ],
      options: [{ name: 'none', summary: 'take all of them away' }],
      run: alias,
    },
    {
      name: 'weight',
      summary: 'set the share of traffic of instances',
      description: ['100 is normal, 0 takes no traffic, 1000 is the most.'],
      house: true,
      positionals: [
        nameArgument,
        { name: 'WEIGHT', summary: 'from 0 to 1000; 100 is normal' },
        instanceArgument,
      ],
      run: (context, args) => {
        const weight = parseInteger('WEIGHT', args.positional(1), { min: 0, max: 1000 })
        return update(context, args, args.positionals[2], { weight }, `has the weight ${weight}`)
      },
    },
  ],
}

async function list(context: Context, args: ParsedArguments): Promise<number> {
  const { screen } = context
  const { client } = context.house()
  const limit = limitOf(args)
  const page = await collect(limit, (query) => client.call('listServices', { query }))
  if (args.flag('json')) {
    screen.json(page)
    return exitCodes.ok
  }
  if (page.items.length === 0) {
    screen.note('No service has registered yet.')
    return exitCodes.ok
  }
  screen.table(
    [
      { title: 'NAME' },
      { title: 'HEALTH' },
      { title: 'USABLE', align: 'right' },
      { title: 'DEPENDS ON', flexible: true },
      { title: 'TAGS', flexible: true },
      { title: 'ALIASES', flexible: true },
    ],
    page.items.map(({ name, health, usable, instances, dependencies, tags, aliases }) => [
      name,
      screen.state(health),
      `${usable}/${instances}`,
      dependencies.join(', '),
      tags.join(', '),
      aliases.join(', '),
    ]),
  )
  noteMore(screen, page, limit)
  return exitCodes.ok
}

async function show(context: Context, args: ParsedArguments): Promise<number> {
  const { screen } = context
  const { client } = context.house()
  const service = await getService(client, args.positional(0))
  if (args.flag('json')) {
    screen.json(service)
    return exitCodes.ok
  }
  const health = await client.call('getServiceHealth', { params: { name: service.name } })
  const checked = new Map(health.body.instances.map((instance) => [instance.id, instance]))
  const { text, tone } = screen.state(service.health)
  screen.print(`${screen.toned(service.name, 'strong')} is ${screen.toned(text, tone)}\n`)
  const names = (all: readonly string[]): string | null => all.join(', ') || null
  screen.fields([
    ['Aliases', names(service.aliases)],
    ['Depends on', names(service.dependencies)],
    ['Needed by', names(service.dependents)],
    ['Cycles', cyclesCell(service.cycles)],
    ['Endpoints', endpointsText(service.endpoints)],
    ['Callers', service.callers === null ? null : (names(service.callers) ?? 'nobody')],
    ['Checked', `every ${service.healthIntervalSeconds} s`],
    ['Configuration', service.configVersion === 0 ? null : `version ${service.configVersion}`],
  ])
  if (service.instances.length === 0) {
    screen.print('  It has no instances.\n')
    return exitCodes.ok
  }
  screen.print('\n')
  screen.table(
    [
      { title: 'INSTANCE' },
      { title: 'STATE' },
      { title: 'SINCE' },
      { title: 'LATENCY', align: 'right' },
      { title: 'UPTIME', align: 'right' },
      { title: 'WEIGHT', align: 'right' },
      { title: 'VERSION' },
      { title: 'ZONE' },
      { title: 'ID' },
      { title: 'REASON', flexible: true },
    ],
    service.instances.map((instance) => [
      addressText(instance.address, instance.port),
      screen.state(instance.state),
      relativeTime(instance.stateChangedAt, screen.nowMs),
      latencyText(checked.get(instance.id)?.latencyMs),
      uptimeText(checked.get(instance.id)?.uptime24h),
      String(instance.weight),
      instance.version,
      instance.zone ?? '',
      // The beginning is the time of the registration, alike for all that started together.
      instance.id.slice(-12),
      instance.reason ?? lastFailureText(checked.get(instance.id), screen.nowMs),
    ]),
  )
  return exitCodes.ok
}

type Checked = Extract<
  AnswerOf<'getServiceHealth'>,
  { readonly status: 200 }
>['body']['instances'][number]

/** Of the last 24 hours. Rounded down: 100 % is kept for what never failed. */
function uptimeText(share: number | null | undefined): string {
  if (share === null || share === undefined) return ''
  return share === 1 ? '100 %' : `${(Math.floor(share * 1000) / 10).toFixed(1)} %`
}

function lastFailureText(checked: Checked | undefined, nowMs: number): string {
  const failure = checked?.lastFailure
  return failure ? `failed ${relativeTime(failure.at, nowMs)}: ${failure.reason}` : ''
}

function latencyText(latencyMs: number | null | undefined): string {
  if (latencyMs === null || latencyMs === undefined) return ''
  return `${latencyMs < 10 ? latencyMs.toFixed(1) : Math.round(latencyMs)} ms`
}

function cyclesCell(cycles: Service['cycles']): Cell | null {
  if (cycles.length === 0) return null
  return { text: cycles.map((cycle) => cycle.join(' > ')).join('; '), tone: 'poor' }
}

async function getService(client: HausClient, name: string): Promise<Service> {
  const { body } = await client
    .call('getService', { params: { name } })
    .catch((error: unknown) => explainMissingService(client, name, error))
  return body
}

/** By its address, its id, or an unambiguous end of the id, which is what the table shows. */
function pickInstance({ name, instances }: Service, wanted: string): Instance {
  const exact = instances.filter(
    ({ id, address, port }) => id === wanted || addressText(address, port) === wanted,
  )
  const found = exact.length > 0 ? exact : instances.filter(({ id }) => id.endsWith(wanted))
  const [first, second] = found
  if (first !== undefined && second === undefined) return first
  const known = instances.map(({ address, port }) => addressText(address, port))
  if (second !== undefined) {
    throw usageFailure(`More than one instance of ${name} ends in that.`, 'Give more of the id.')
  }
  throw new Failure('notFound', `${name} has no such instance.`, {
    code: 'instance_not_found',
    hint: known.length === 0 ? 'It has none at all.' : `It has ${known.slice(0, 8).join(', ')}.`,
  })
}

type Change = { weight: number } | { draining: boolean } | { maintenance: boolean }

function change(name: string, summary: string, done: string, body: Change): Command {
  return {
    name,
    summary,
    house: true,
    positionals: [nameArgument, instanceArgument],
    run: (context, args) => update(context, args, args.positionals[1], body, done),
  }
}

async function update(
  { screen, house }: Context,
  args: ParsedArguments,
  wanted: string | undefined,
  body: Change,
  done: string,
): Promise<number> {
  const { client } = house()
  const service = await getService(client, args.positional(0))
  const chosen = wanted === undefined ? service.instances : [pickInstance(service, wanted)]
  if (chosen.length === 0) {
    throw new Failure('notFound', `${service.name} has no instances.`, {
      code: 'instance_not_found',
    })
  }
  const changed: Instance[] = []
  for (const { id, address, port } of chosen) {
    const answer = await client.call('updateInstance', { params: { name: service.name, id }, body })
    changed.push(answer.body)
    if (!args.flag('json')) {
      screen.print(`${service.name} ${addressText(address, port)} ${done}\n`)
    }
  }
  if (args.flag('json')) screen.json({ items: changed, nextCursor: null })
  return exitCodes.ok
}

async function checks({ screen, house }: Context, args: ParsedArguments): Promise<number> {
  const { client } = house()
  const service = await getService(client, args.positional(0))
  const [, wanted] = args.positionals
  const [only, second] = service.instances
  if (wanted === undefined && second !== undefined) {
    const known = service.instances.map(({ address, port }) => addressText(address, port))
    throw usageFailure(
      `${service.name} has ${service.instances.length} instances.`,
      `Name one: ${known.slice(0, 8).join(', ')}.`,
    )
  }
  const instance = wanted === undefined && only ? only : pickInstance(service, wanted ?? '')
  const { body } = await client.call('getInstanceChecks', {
    params: { name: service.name, id: instance.id },
  })
  if (args.flag('json')) {
    screen.json(body)
    return exitCodes.ok
  }
  if (body.checks.length === 0) {
    screen.note('It has not been checked yet.')
    return exitCodes.ok
  }
  screen.table(
    [
      { title: 'WHEN' },
      { title: 'OUTCOME' },
      { title: 'LATENCY', align: 'right' },
      { title: 'REASON', flexible: true },
    ],
    body.checks.map(({ at, ok, latencyMs, reason }) => [
      relativeTime(at, screen.nowMs),
      ok ? ({ text: 'passed', tone: 'good' } as const) : ({ text: 'failed', tone: 'bad' } as const),
      latencyText(latencyMs),
      reason ?? '',
    ]),
  )
  return exitCodes.ok
}

/** Exactly one of the names and the switches says what is meant; nothing at all would be a guess. */
function oneOf(names: readonly string[], switches: readonly boolean[], what: string): void {
  const said = (names.length > 0 ? 1 : 0) + switches.filter(Boolean).length
  if (said !== 1) throw usageFailure(`This takes either names or one of ${what}.`)
}

async function callers({ screen, house }: Context, args: ParsedArguments): Promise<number> {
  const [wanted = '', ...names] = args.positionals
  const [everybody, nobody] = [args.flag('everybody'), args.flag('nobody')]
  oneOf(names, [everybody, nobody], '--everybody and --nobody')
  const { client } = house()
  const { name } = await getService(client, wanted)
  const { body } = await client.call('updateService', {
    params: { name },
    body: { callers: everybody ? null : names },
  })
  if (args.flag('json')) screen.json(body)
  else
    screen.print(
      `${name} may be called by ${body.callers?.join(', ') || (everybody ? 'every service' : 'nobody')}\n`,
    )
  return exitCodes.ok
}

async function alias({ screen, house }: Context, args: ParsedArguments): Promise<number> {
  const [wanted = '', ...aliases] = args.positionals
  oneOf(aliases, [args.flag('none')], '--none')
  const { client } = house()
  const { name } = await getService(client, wanted)
  const { body } = await client.call('updateService', { params: { name }, body: { aliases } })
  if (args.flag('json')) screen.json(body)
  else screen.print(`${name} is also ${body.aliases.join(', ') || 'nothing else'}\n`)
  return exitCodes.ok
}

function countText(instances: number): string {
  return instances === 1 ? '1 instance' : `${instances} instances`
}

/** Not looked up before: a name that has only a configuration is no service. */
async function forget(
  context: Context,
  args: ParsedArguments,
  instance: string | undefined,
): Promise<number> {
  if (instance !== undefined) {
    throw usageFailure('--forget is about a whole service.', 'Leave INSTANCE out.')
  }
  const name = args.positional(0)
  const { client } = context.house()
  await confirm(context, args, `Forget ${name} with its instances, aliases and configuration?`)
  await client.call('deleteService', { params: { name }, query: { forget: true } })
  if (!args.flag('json')) context.screen.print(`${name} forgotten\n`)
  return exitCodes.ok
}

async function remove(context: Context, args: ParsedArguments): Promise<number> {
  const { screen, house } = context
  const [, wanted] = args.positionals
  if (args.flag('forget')) return forget(context, args, wanted)
  const { client } = house()
  const service = await getService(client, args.positional(0))
  const { name } = service
  if (wanted === undefined) {
    const count = service.instances.length
    await confirm(context, args, `Remove ${name} with its ${countText(count)}?`)
    await client.call('deleteService', { params: { name } })
    if (!args.flag('json')) screen.print(`${name}: ${countText(count)} removed\n`)
    return exitCodes.ok
  }
  const { id, address, port } = pickInstance(service, wanted)
  await confirm(context, args, `Remove ${name} ${addressText(address, port)}?`)
  await client.call('deregisterInstance', { params: { name, id } })
  if (!args.flag('json')) screen.print(`${name} ${addressText(address, port)} removed\n`)
  return exitCodes.ok
}
