/** `haus token`: keys of services. The secret goes into a file and is never shown. */
import path from 'node:path'
import type { HausClient } from '@haus/sdk/client'
import type { Command, Positional } from '../command.ts'
import type { Context } from '../context.ts'
import { exitCodes, Failure, fileFailure } from '../failure.ts'
import { collect, notFound } from '../house.ts'
import { relativeTime } from '../output/relative-time.ts'
import type { ParsedArguments } from '../parse-arguments.ts'
import { exists, preparePrivateFile } from '../platform/private-file.ts'
import { confirm, yesOption } from './confirm.ts'
import { limitOf, limitOption, noteMore } from './list-limit.ts'

const serviceArgument: Positional = {
  name: 'SERVICE',
  summary: 'the name of a service, which need not have registered yet',
  complete: 'service',
}

export const tokenCommand: Command = {
  name: 'token',
  summary: 'make, list and revoke the keys by which services get their tokens',
  subcommands: [
    {
      name: 'issue',
      summary: 'make a key for a service',
      description: [
        'The secret is written to FILE, which only you may read, and shown nowhere. What is printed is what the service needs in its environment, a line each: the SDK and `haus run` read it from there.',
      ],
      house: true,
      positionals: [serviceArgument],
      options: [
        {
          name: 'out',
          value: 'FILE',
          summary: 'where the secret goes (default SERVICE.key)',
          complete: 'file',
        },
        { name: 'force', summary: 'replace FILE if it exists' },
      ],
      examples: [
        ['haus token issue orders --out orders.key', 'make it'],
        ['haus token issue orders --out orders.key >orders.env', 'keep the lines too'],
      ],
      run: issue,
    },
    {
      name: 'list',
      summary: 'list the keys of a service',
      house: true,
      positionals: [serviceArgument],
      options: [limitOption],
      run: list,
    },
    {
      name: 'revoke',
      summary: 'revoke a key: its tokens are dead at once',
      house: true,
      positionals: [
        serviceArgument,
        { name: 'CLIENT_ID', summary: 'as `haus token list` shows it, or the end of it' },
      ],
      options: [yesOption],
      run: revoke,
    },
  ],
}

async function issue(context: Context, args: ParsedArguments): Promise<number> {
  const { screen, surroundings } = context
  const house = context.house()
  const { client } = house
  const name = args.positional(0)
  const file = path.resolve(surroundings.cwd, args.text('out') ?? `${name}.key`)
  const replace = args.flag('force')
  if (!replace && (await exists(file).catch(() => false))) throw taken(file)
  // The place comes before the key: a key whose secret cannot be kept would be made for nothing.
  const pending = await preparePrivateFile(file).catch((error: unknown) => {
    throw fileFailure('written', file, error)
  })
  try {
    const { body } = await client.call('createServiceKey', { params: { name } })
    const { clientId, clientSecret, service, createdAt } = body
    try {
      if (!(await pending.place(`${clientSecret}\n`, { replace }))) throw taken(file)
    } catch (error) {
      await client.call('revokeServiceKey', { params: { name, clientId } }).catch(() => {})
      throw error instanceof Failure ? error : fileFailure('written', file, error)
    }
    if (args.flag('json')) {
      screen.json({ clientId, service, createdAt, url: house.url, clientSecretFile: file })
      return exitCodes.ok
    }
    screen.note(`The secret is in ${file}. ${service} needs these in its environment:`)
    screen.print(
      `HAUS_URL=${house.url}\nHAUS_CLIENT_ID=${clientId}\nHAUS_CLIENT_SECRET_FILE=${shellWord(file)}\n`,
    )
    return exitCodes.ok
  } finally {
    await pending.discard()
  }
}

function taken(file: string): Failure {
  return new Failure('conflict', `${file} exists already, and it may be a key in use.`, {
    hint: 'Name another file with --out, or say --force to replace it.',
    code: 'file_exists',
  })
}

/** As a shell and an environment file read it. */
function shellWord(text: string): string {
  return /^[\w./:@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

async function list(context: Context, args: ParsedArguments): Promise<number> {
  const { screen } = context
  const { client } = context.house()
  const name = args.positional(0)
  const limit = limitOf(args)
  const page = await keysOf(client, name, limit)
  if (args.flag('json')) {
    screen.json(page)
    return exitCodes.ok
  }
  if (page.items.length === 0) {
    screen.note(`${name} has no keys: \`haus token issue ${name}\` makes one.`)
    return exitCodes.ok
  }
  screen.table(
    [{ title: 'CLIENT ID' }, { title: 'STATE' }, { title: 'CREATED' }, { title: 'LAST USED' }],
    page.items.map(({ clientId, createdAt, revokedAt, lastUsedAt }) => [
      clientId,
      revokedAt === null
        ? ({ text: 'live', tone: 'good' } as const)
        : ({ text: `revoked ${relativeTime(revokedAt, screen.nowMs)}`, tone: 'quiet' } as const),
      relativeTime(createdAt, screen.nowMs),
      relativeTime(lastUsedAt, screen.nowMs),
    ]),
  )
  noteMore(screen, page, limit)
  return exitCodes.ok
}

function keysOf(client: HausClient, name: string, limit: number) {
  return collect(limit, (query) => client.call('listServiceKeys', { params: { name }, query }))
}

/** More than a service can have. */
const keysMax = 1000

async function revoke(context: Context, args: ParsedArguments): Promise<number> {
  const { client } = context.house()
  const name = args.positional(0)
  const wanted = args.positional(1)
  const { items } = await keysOf(client, name, keysMax)
  const found = items.filter(({ clientId }) => clientId.endsWith(wanted))
  const [key] = found
  if (key === undefined || found.length > 1) {
    const live = items.filter(({ revokedAt }) => revokedAt === null)
    throw notFound(
      `single key of ${name}`,
      wanted,
      live.map(({ clientId }) => clientId),
      'key_not_found',
    )
  }
  const { clientId } = key
  await confirm(context, args, `Revoke ${clientId} of ${name}?`)
  await client.call('revokeServiceKey', { params: { name, clientId } })
  if (!args.flag('json')) context.screen.print(`${clientId} of ${name} revoked\n`)
  return exitCodes.ok
}
