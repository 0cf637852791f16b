/** `haus credentials`: what an operator does with them. Values leave only by `reveal`. */
import path from 'node:path'
import type { AnswerOf, HausClient, ItemOf } from '@haus/sdk/client'
import type { Command, Option, Positional } from '../command.ts'
import type { Context } from '../context.ts'
import { exitCodes, Failure, fileFailure, usageFailure } from '../failure.ts'
import { collect, notFound } from '../house.ts'
import { parseDurationSeconds, parseTimeMs, relativeTime } from '../output/relative-time.ts'
import { plainText } from '../output/text-width.ts'
import type { ParsedArguments } from '../parse-arguments.ts'
import { exists, preparePrivateFile } from '../platform/private-file.ts'
import { confirm, yesOption } from './confirm.ts'
import { keysArgument, readValues, valueOptions } from './credential-values.ts'
import { limitOf, limitOption, noteMore } from './list-limit.ts'

type Credential = ItemOf<'listCredentials'>

const nameArgument: Positional = {
  name: 'NAME',
  summary: 'the name of a credential, or its id',
  complete: 'credential',
}

/** As many commands may change the grants of one credential in one moment. */
const grantTriesMax = 10

const metadataOptions: readonly Option[] = [
  { name: 'description', value: 'TEXT', summary: 'what it is for; visible to every operator' },
  {
    name: 'expires',
    value: 'TIME',
    summary: 'when it ends: 30d, 12h, or a time such as 2027-01-31T00:00:00Z',
  },
  {
    name: 'cache-ttl',
    value: 'SECONDS',
    summary: 'how long a reader may keep it without asking again (default 30)',
  },
]

const howValuesCome =
  'Values are never arguments, which everybody on the machine can read. Each KEY is asked for without showing it, or read from standard input; --from and --file read files.'

export const credentialsCommand: Command = {
  name: 'credentials',
  summary: 'list, create, change, grant and reveal credentials',
  house: true,
  options: [limitOption, serviceOption('only those granted to this service')],
  examples: [
    ['haus credentials', 'list them'],
    [
      'haus credentials create orders-database username password --service orders',
      'asks for both values',
    ],
  ],
  run: list,
  subcommands: [
    {
      name: 'list',
      summary: 'list credentials, never their values',
      house: true,
      options: [limitOption, serviceOption('only those granted to this service')],
      run: list,
    },
    {
      name: 'show',
      summary: 'show one, never its values',
      house: true,
      positionals: [nameArgument],
      run: async (context, args) => {
        const found = await find(context.house().client, args.positional(0))
        tell(context, args, found)
        return exitCodes.ok
      },
    },
    {
      name: 'create',
      summary: 'create a credential',
      description: [howValuesCome],
      house: true,
      positionals: [{ name: 'NAME', summary: 'such as orders-database' }, keysArgument],
      options: [
        ...valueOptions,
        { ...serviceOption('a service that may read it'), many: true },
        ...metadataOptions,
      ],
      examples: [
        [
          'haus credentials create orders-database username password --service orders',
          'asks for both',
        ],
        ['haus credentials create tls --file key=tls.key --file certificate=tls.crt', 'from files'],
        ['haus credentials create mail --from mail.env', 'lines of KEY=value'],
        ['pass show stripe | haus credentials create stripe token', 'from another program'],
      ],
      run: create,
    },
    {
      name: 'set',
      summary: 'change values, which adds a version, or what is known about it',
      description: [
        'The values that are named change; the others stay as they are, for which the present ones are read (that is audited like every read). If somebody else adds a version in between, nothing is written. --replace writes exactly what is given instead.',
        howValuesCome,
      ],
      house: true,
      positionals: [nameArgument, keysArgument],
      options: [
        ...valueOptions,
        { name: 'replace', summary: 'drop the values that are not given' },
        { name: 'cas', value: 'VERSION', summary: 'only if this is the current version' },
        ...metadataOptions.map((option) =>
          option.name === 'expires'
            ? { ...option, summary: `${option.summary}; or never` }
            : option,
        ),
      ],
      examples: [
        ['haus credentials set orders-database password', 'asks for the new password'],
        ['haus credentials set orders-database --expires 30d', 'only its end'],
      ],
      run: set,
    },
    grants('grant', 'let services read it', (now, more) => [...new Set([...now, ...more])]),
    grants('ungrant', 'take it away from services', (now, less) =>
      now.filter((name) => !less.includes(name)),
    ),
    {
      name: 'reveal',
      summary: 'show the values',
      description: [
        'Audited before anything is shown. Unless standard output is a terminal it needs --print or --out, so that values do not end up in a log by accident.',
      ],
      house: true,
      positionals: [nameArgument],
      options: [
        { name: 'version', value: 'N', summary: 'an older version' },
        { name: 'key', value: 'KEY', summary: 'this value alone, to its last byte' },
        { name: 'print', summary: 'also when standard output is not a terminal' },
        {
          name: 'out',
          value: 'FILE',
          summary: 'write to a new file that only you may read',
          complete: 'file',
        },
      ],
      examples: [
        ['haus credentials reveal orders-database', 'on the terminal'],
        ['haus credentials reveal tls --key certificate --out tls.crt', 'one value into a file'],
      ],
      run: reveal,
    },
    {
      name: 'rm',
      summary: 'delete a credential: services lose it at once',
      house: true,
      positionals: [nameArgument],
      options: [yesOption],
      run: async (context, args) => {
        const { client } = context.house()
        const { id, name, services } = await find(client, args.positional(0))
        const readers = services.length === 0 ? '' : `, which ${services.join(', ')} may read`
        await confirm(context, args, `Delete ${name}${readers}?`)
        await client.call('deleteCredential', { params: { id } })
        if (!args.flag('json')) context.screen.print(`${name} deleted\n`)
        return exitCodes.ok
      },
    },
  ],
}

function serviceOption(summary: string): Option {
  return { name: 'service', value: 'NAME', summary, complete: 'service' }
}

async function list(context: Context, args: ParsedArguments): Promise<number> {
  const { screen } = context
  const { client } = context.house()
  const limit = limitOf(args)
  const service = args.text('service')
  const page = await collect(limit, (query) =>
    client.call('listCredentials', {
      query: { ...query, ...(service !== undefined && { service }) },
    }),
  )
  if (args.flag('json')) {
    screen.json(page)
    return exitCodes.ok
  }
  if (page.items.length === 0) {
    screen.note(service === undefined ? 'There are no credentials yet.' : `${service} has none.`)
    return exitCodes.ok
  }
  screen.table(
    [
      { title: 'NAME' },
      { title: 'VERSION', align: 'right' },
      { title: 'SERVICES', flexible: true },
      { title: 'KEYS', flexible: true },
      { title: 'CHANGED' },
      { title: 'EXPIRES' },
      { title: 'DESCRIPTION', flexible: 'first' },
    ],
    page.items.map((item) => [
      item.name,
      String(item.version),
      item.services.join(', '),
      item.keys.join(', '),
      relativeTime(item.updatedAt, screen.nowMs),
      expiryCell(item, screen.nowMs),
      item.description ?? '',
    ]),
  )
  noteMore(screen, page, limit)
  return exitCodes.ok
}

function expiryCell({ expiresAt }: Credential, nowMs: number) {
  const text = relativeTime(expiresAt, nowMs)
  if (expiresAt === null) return text
  const leftMs = Date.parse(expiresAt) - nowMs
  const tone = leftMs < 0 ? 'bad' : leftMs < 7 * 86_400_000 ? 'poor' : undefined
  return { text, tone } as const
}

function tell({ screen }: Context, args: ParsedArguments, found: Credential, done = ''): void {
  if (args.flag('json')) {
    screen.json(found)
    return
  }
  screen.print(`${screen.toned(found.name, 'strong')}${done === '' ? '' : ` ${done}`}\n`)
  screen.fields([
    ['Version', String(found.version)],
    ['Services', found.services.join(', ') || { text: 'none may read it', tone: 'quiet' }],
    ['Keys', found.keys.join(', ')],
    ['Description', found.description],
    ['Expires', found.expiresAt && expiryCell(found, screen.nowMs)],
    ['Cached for', `${found.cacheTtlSeconds} s at most`],
    ['Changed', relativeTime(found.updatedAt, screen.nowMs)],
    ['Id', found.id],
  ])
}

const credentialsMax = 10_000
const idForm = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

async function find(client: HausClient, name: string): Promise<Credential> {
  if (idForm.test(name)) return (await client.call('getCredential', { params: { id: name } })).body
  const { items } = await collect(credentialsMax, (query) =>
    client.call('listCredentials', { query }),
  )
  const found = items.find((item) => item.name === name)
  if (found !== undefined) return found
  const known = items.map((item) => item.name)
  throw notFound('credential', name, known, 'credential_not_found')
}

async function create(context: Context, args: ParsedArguments): Promise<number> {
  const { client } = context.house()
  const [name = '', ...keys] = args.positionals
  const metadata = readMetadata(context, args)
  const data = await readValues(context, args, keys)
  if (data === undefined) {
    throw usageFailure(
      'A credential needs at least one value.',
      'Name its keys, such as `haus credentials create NAME password`, or use --from or --file.',
    )
  }
  const { expiresAt, ...rest } = metadata
  const services = [...args.list('service')]
  const { body } = await client.call('createCredential', {
    body: {
      name,
      data,
      ...(services.length > 0 && { services }),
      ...rest,
      ...(typeof expiresAt === 'string' && { expiresAt }),
    },
  })
  tell(context, args, body, 'created')
  return exitCodes.ok
}

async function set(context: Context, args: ParsedArguments): Promise<number> {
  const { client } = context.house()
  const [name = '', ...keys] = args.positionals
  const metadata = readMetadata(context, args)
  const cas = args.integer('cas', { min: 0, max: Number.MAX_SAFE_INTEGER })
  const found = await find(client, name)
  const given = await readValues(context, args, keys)
  if (given === undefined && Object.keys(metadata).length === 0) {
    throw usageFailure(
      'There is nothing to change.',
      `Name a key, such as \`haus credentials set ${name} ${found.keys[0] ?? 'password'}\`, or use --from, --file, --expires or --description.`,
    )
  }
  const values =
    given === undefined
      ? {}
      : args.flag('replace')
        ? { data: given, ...(cas !== undefined && { cas }) }
        : await merged(client, found, given, cas)
  const { body } = await client.call('updateCredential', {
    params: { id: found.id },
    body: { ...metadata, ...values },
  })
  tell(context, args, body, 'changed')
  return exitCodes.ok
}

/** What is there with what is given, to be written only if nobody was faster. */
async function merged(
  client: HausClient,
  { id }: Credential,
  given: Readonly<Record<string, string>>,
  cas: number | undefined,
) {
  const { body } = await client.call('revealCredential', { params: { id } })
  return { data: { ...body.data, ...given }, cas: cas ?? body.version }
}

interface Metadata {
  readonly description?: string
  readonly expiresAt?: string | null
  readonly cacheTtlSeconds?: number
}

function readMetadata({ screen }: Context, args: ParsedArguments): Metadata {
  const description = args.text('description')
  const cacheTtlSeconds = args.integer('cache-ttl', { min: 0, max: 3600 })
  const expires = args.text('expires')
  return {
    ...(description !== undefined && { description }),
    ...(cacheTtlSeconds !== undefined && { cacheTtlSeconds }),
    ...(expires !== undefined && { expiresAt: parseExpiry(expires, screen.nowMs) }),
  }
}

function parseExpiry(text: string, nowMs: number): string | null {
  if (text === 'never') return null
  const seconds = parseDurationSeconds(text)
  const atMs = seconds === undefined ? parseTimeMs(text) : nowMs + seconds * 1000
  if (atMs === undefined) {
    throw usageFailure(
      '--expires must be a duration such as 30d or 12h, or a time such as 2027-01-31T00:00:00Z.',
    )
  }
  if (atMs <= nowMs) throw usageFailure('--expires lies in the past.')
  return new Date(atMs).toISOString()
}

function grants(
  name: string,
  summary: string,
  next: (now: readonly string[], named: readonly string[]) => readonly string[],
): Command {
  return {
    name,
    summary,
    house: true,
    positionals: [
      nameArgument,
      { name: 'SERVICE', summary: 'need not have registered yet', many: true, complete: 'service' },
    ],
    run: async (context, args) => {
      const { client } = context.house()
      const [wanted = '', ...services] = args.positionals
      for (let tries = 1; ; tries += 1) {
        const { id, revision, services: now } = await find(client, wanted)
        try {
          const { body } = await client.call('updateCredential', {
            params: { id },
            body: { services: [...next(now, services)], casRevision: revision },
          })
          tell(context, args, body)
          return exitCodes.ok
        } catch (error) {
          // Somebody was faster: what he has granted stays.
          if (!isConflict(error) || tries === grantTriesMax) throw error
        }
      }
    },
  }
}

function isConflict(error: unknown): boolean {
  return error instanceof Failure && error.code === 'version_conflict'
}

type Revealed = Extract<AnswerOf<'revealCredential'>, { readonly status: 200 }>['body']

async function reveal(context: Context, args: ParsedArguments): Promise<number> {
  const { screen, surroundings } = context
  const out = args.text('out')
  const version = args.integer('version', { min: 1, max: Number.MAX_SAFE_INTEGER })
  if (out === undefined && !screen.onTerminal && !args.flag('print')) {
    throw usageFailure(
      'Standard output is not a terminal, so the values were not asked for.',
      'Say --print if they should go there, or --out FILE.',
    )
  }
  const { client } = context.house()
  const { id } = await find(client, args.positional(0))
  const file = out === undefined ? undefined : path.resolve(surroundings.cwd, out)
  if (file !== undefined) await refuseTaken(file)
  const { body } = await client.call('revealCredential', {
    params: { id },
    ...(version !== undefined && { query: { version } }),
  })
  const text = revealedText(body, args, file === undefined && screen.onTerminal)
  if (file === undefined) screen.print(text)
  else {
    await writeNew(file, text)
    screen.note(`Written to ${file}, which only you may read.`)
  }
  return exitCodes.ok
}

function revealedText(body: Revealed, args: ParsedArguments, forPerson: boolean): string {
  const key = args.text('key')
  if (key !== undefined) {
    const value = body.data[key]
    if (value === undefined) throw notFound('key', key, Object.keys(body.data), 'key_not_found')
    return forPerson && !value.endsWith('\n') ? `${value}\n` : value
  }
  if (args.flag('json')) return `${JSON.stringify(body, null, forPerson ? 2 : undefined)}\n`
  // For the eye: what would move the cursor is shown, lines stay lines.
  const shown = (value: string): string =>
    forPerson ? value.split('\n').map(plainText).join('\n') : value
  return Object.entries(body.data)
    .map(([name, value]) => `${name}=${shown(value)}\n`)
    .join('')
}

async function refuseTaken(file: string): Promise<void> {
  if (!(await exists(file))) return
  throw new Failure('conflict', `${file} exists already.`, {
    hint: 'Name another file, or remove it first.',
    code: 'file_exists',
  })
}

async function writeNew(file: string, text: string): Promise<void> {
  try {
    const pending = await preparePrivateFile(file)
    try {
      if (!(await pending.place(text, { replace: false }))) await refuseTaken(file)
    } finally {
      await pending.discard()
    }
  } catch (error) {
    throw error instanceof Failure ? error : fileFailure('written', file, error)
  }
}
