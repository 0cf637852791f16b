/** `haus run`: any program becomes a service of the house, without knowing it. */
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { HausClient, Log } from '@haus/sdk'
import type { Command } from '../command.ts'
import { findConnection } from '../connection.ts'
import type { Context } from '../context.ts'
import { exitCodes, Failure, systemCodeOf, usageFailure } from '../failure.ts'
import { openHouse } from '../house.ts'
import { toned } from '../output/colour.ts'
import { addressText } from '../output/address.ts'
import { plainText } from '../output/text-width.ts'
import { parseInteger, type ParsedArguments } from '../parse-arguments.ts'
import type { Child, ProgramLine } from '../platform/child.ts'
import { exitCodeOf, parseSignal, startChild } from '../platform/child.ts'
import { accepts, answersWell, freePort } from '../platform/listening.ts'
import { createCredentialFolder, type FileCredential } from '../run/credential-folder.ts'
import { pause } from '../platform/pause.ts'
import { credentialVariables } from '../run/environment.ts'
import { RunFailure, runExitCodes } from '../run/run-failure.ts'
import { supervise, type OnChange } from '../run/supervise.ts'

export const runCommand: Command = {
  name: 'run',
  summary: 'run any program as a service of the house',
  description: [
    'Starts the program with its credentials as files, waits until it listens, registers it, keeps its lease, and leaves the house when it ends or a signal comes. There is no shell between, and its output is not touched.',
    'The service speaks with its own key: HAUS_CLIENT_ID and HAUS_CLIENT_SECRET_FILE, as `haus token issue NAME` prints them.',
    'The folder HAUS_CREDENTIALS_DIR holds a folder for each credential with a file for each value, and all of it as JSON in .credential.json. Only the user can read it; it is in memory where the system has such a place, and it is removed at the end. A new version replaces a credential as a whole; --reload-signal or --restart-on-change tells the program.',
    'The port is in PORT. With --port 0 a free one is chosen, and {port} in the arguments of the program is replaced by it.',
    'The exit code is that of the program, or 128 and the number of the signal that ended it. 125: it was not run, was not taken by the house, or never listened. 126: it cannot be executed. 127: it was not found.',
  ],
  program: true,
  options: [
    { name: 'name', value: 'NAME', summary: 'the service it is', complete: 'service' },
    { name: 'port', value: 'PORT', summary: 'where it listens; 0: choose a free one' },
    {
      name: 'health',
      value: 'PATH',
      summary: 'a path that answers 2xx while it works, such as /up',
    },
    { name: 'version', value: 'VERSION', summary: 'its version (default 0.0.0)' },
    {
      name: 'credentials',
      value: 'A,B',
      summary: 'only these (default: all that are granted); one that is missing refuses the start',
      complete: 'credential',
    },
    { name: 'env', summary: 'values also as variables, such as ORDERS_DATABASE_PASSWORD' },
    {
      name: 'reload-signal',
      value: 'SIGNAL',
      summary: 'sent after a new version is written, such as SIGHUP',
    },
    { name: 'restart-on-change', summary: 'restart it after a new version is written' },
    {
      name: 'address',
      value: 'HOST',
      summary: 'the address to advertise (default: as the house sees it)',
    },
    {
      name: 'scheme',
      value: 'SCHEME',
      summary: 'http, https or tcp (default http)',
      complete: ['http', 'https', 'tcp'],
    },
    {
      name: 'depends-on',
      value: 'NAME',
      many: true,
      summary: 'a service it needs',
      complete: 'service',
    },
    { name: 'tag', value: 'TAG', many: true, summary: 'for those who look for it' },
    { name: 'zone', value: 'ZONE', summary: 'where it runs' },
    { name: 'weight', value: 'N', summary: 'its share of traffic; 100 is normal' },
    {
      name: 'start-timeout',
      value: 'SECONDS',
      summary: 'how long it may take to listen, and the house to answer (default 60)',
    },
    {
      name: 'stop-timeout',
      value: 'SECONDS',
      summary: 'how long it may take to end before it is killed (default 20)',
    },
    { name: 'quiet', short: 'q', summary: 'say nothing but why it failed' },
    { name: 'url', value: 'URL', summary: 'where the house is (HAUS_URL)' },
    { name: 'client-id', value: 'ID', summary: 'the id of its key (HAUS_CLIENT_ID)' },
    {
      name: 'client-secret-file',
      value: 'FILE',
      summary: 'the file with the secret of its key (HAUS_CLIENT_SECRET_FILE)',
      complete: 'file',
    },
  ],
  examples: [
    ['haus run --name files --port 8080 -- python3 -m http.server 8080', 'any program'],
    [
      'haus run --name api --port 0 --health /up --reload-signal SIGHUP -- ./api --port {port}',
      'a free port, a health check, and a signal when a credential changes',
    ],
  ],
  run,
}

interface Settings {
  readonly name: string
  readonly port: number
  readonly program: string
  readonly args: readonly string[]
  readonly wanted: readonly string[] | undefined
  readonly onChange: OnChange
  readonly startTimeoutMs: number
  readonly stopTimeoutMs: number
}

async function run(context: Context, args: ParsedArguments): Promise<number> {
  const { surroundings } = context
  const { env, cwd, stderr, look } = surroundings
  const settings = await readSettings(args)
  const { name, port, wanted } = settings
  const address = args.text('address')
  const health = args.text('health')
  const scheme = args.text('scheme') ?? 'http'
  const where = addressText(address ?? '127.0.0.1', port)
  const hosts = [...new Set([...(address === undefined ? [] : [address]), '127.0.0.1', '::1'])]
  const someHost = async (ask: (host: string) => Promise<boolean>): Promise<boolean> =>
    (await Promise.all(hosts.map(ask))).includes(true)
  if (await someHost((host) => accepts(host, port))) {
    throw new RunFailure(
      `Something listens on port ${port} already.`,
      'Stop it, or choose another port; --port 0 chooses a free one.',
    )
  }

  const key = keyOf(context, args, name)
  const quiet = args.flag('quiet')
  const say = (sentence: string): void =>
    void stderr.write(`${toned('haus:', 'quiet', look.stderr)} ${plainText(sentence)}\n`)
  const note = (sentence: string): void => (quiet ? undefined : say(sentence))
  const connection = findConnection({
    env: key.env,
    cwd,
    url: args.text('url'),
    tokenFile: undefined,
  })
  const { client } = openHouse(connection)
  const join = {
    ...registrationOf(args, settings),
    ...(address !== undefined && { address }),
    ...(health !== undefined && { healthEndpoint: health }),
    url: connection.url,
    clientId: key.clientId,
    clientSecretFile: key.clientSecretFile,
    startTimeoutMs: settings.startTimeoutMs,
    signals: false,
    log: quiet ? () => {} : logTo(say),
  }

  const folder = await createCredentialFolder([env['XDG_RUNTIME_DIR'], '/dev/shm', tmpdir()], {
    pid: surroundings.pid,
    isAlive: surroundings.isAlive,
  }).catch((error: unknown) => {
    throw new RunFailure(
      `The folder for credentials cannot be made: ${systemCodeOf(error) ?? 'an unknown error'}.`,
    )
  })
  if (!folder.inMemory) note(`The credentials are on disk while it runs: ${folder.path}.`)
  const withEnv = args.flag('env')
  if (withEnv && settings.onChange.kind !== 'restart') {
    note('Variables cannot change while a program runs: --restart-on-change makes new ones.')
  }

  try {
    const { joinHaus } = await import('@haus/sdk')
    const ended = await supervise({
      name,
      where,
      folder,
      note,
      onChange: settings.onChange,
      hasAlready: (signal) => surroundings.onTerminal && ['SIGINT', 'SIGQUIT'].includes(signal),
      onSignal: surroundings.onSignal,
      startTimeoutMs: settings.startTimeoutMs,
      stopTimeoutMs: settings.stopTimeoutMs,
      readCredentials: (signal) => readCredentials(client, name, wanted, signal),
      join: (hooks) => joinHaus({ ...join, ...hooks }),
      start: (credentials) =>
        start({
          program: settings.program,
          args: settings.args,
          cwd,
          env: {
            ...env,
            ...(withEnv && credentialVariables(credentials)),
            PORT: String(port),
            HAUS_CREDENTIALS_DIR: folder.path,
          },
        }),
      listens: () =>
        someHost((host) =>
          health !== undefined && scheme === 'http'
            ? answersWell(host, port, health)
            : accepts(host, port),
        ),
    })
    return exitCodeOf(ended)
  } catch (error) {
    throw asRunFailure(error)
  } finally {
    await folder.removeAll()
  }
}

/** A command line that does not fit is 2 as everywhere; everything else is 125, with its sentence. */
function asRunFailure(error: unknown): unknown {
  if (error instanceof RunFailure) return error
  if (error instanceof Failure) {
    return error.exitCode === exitCodes.usage ? error : new RunFailure(error.message, error.hint)
  }
  if (!(error instanceof Error)) return error
  // The SDK's own refusals are sentences; anything else keeps its stack.
  const told = ['HausApiError', 'HausUnreachableError', 'SettingsError', 'SecretFileError']
  return told.includes(error.name) ? new RunFailure(error.message) : error
}

async function readSettings(args: ParsedArguments): Promise<Settings> {
  const name = needed(args, 'name', 'the service that the program is')
  const given = parseInteger('--port', needed(args, 'port', 'where the program listens'), {
    min: 0,
    max: 65_535,
  })
  const [program, ...rest] = args.program ?? []
  if (program === undefined) {
    throw usageFailure(
      'haus run needs a program, after `--`.',
      'Such as: haus run --name files --port 8080 -- python3 -m http.server 8080',
    )
  }
  const port = given === 0 ? await freePort() : given
  const wanted = args.text('credentials')?.split(',').filter(Boolean)
  return {
    name,
    port,
    program,
    args: given === 0 ? rest.map((word) => word.replaceAll('{port}', String(port))) : rest,
    wanted,
    onChange: onChangeOf(args),
    startTimeoutMs: seconds(args, 'start-timeout', 60),
    stopTimeoutMs: seconds(args, 'stop-timeout', 20),
  }
}

function needed(args: ParsedArguments, name: string, what: string): string {
  const value = args.text(name)
  if (value !== undefined) return value
  throw usageFailure(
    `haus run needs --${name}: ${what}.`,
    '`haus run --help` shows how it is used.',
  )
}

function seconds(args: ParsedArguments, name: string, fallback: number): number {
  return (args.integer(name, { min: 1, max: 86_400 }) ?? fallback) * 1000
}

function onChangeOf(args: ParsedArguments): OnChange {
  const text = args.text('reload-signal')
  const restart = args.flag('restart-on-change')
  if (text !== undefined && restart) {
    throw usageFailure('--reload-signal and --restart-on-change exclude each other.')
  }
  if (restart) return { kind: 'restart' }
  if (text === undefined) return { kind: 'files' }
  const signal = parseSignal(text)
  if (signal !== undefined) return { kind: 'signal', signal }
  throw usageFailure('--reload-signal must be a signal for reloading, such as SIGHUP or SIGUSR1.')
}

function registrationOf(args: ParsedArguments, { name, port, wanted }: Settings) {
  const scheme = (['http', 'https', 'tcp'] as const).find((each) => each === args.text('scheme'))
  if (scheme === undefined && args.text('scheme') !== undefined) {
    throw usageFailure('--scheme must be http, https or tcp.')
  }
  const weight = args.integer('weight', { min: 0, max: 1000 })
  const zone = args.text('zone')
  const [tags, dependencies] = [[...args.list('tag')], [...args.list('depends-on')]]
  return {
    name,
    port,
    version: args.text('version') ?? '0.0.0',
    ...(scheme !== undefined && { scheme }),
    ...(wanted !== undefined && { credentialsNeeded: [...wanted] }),
    ...(tags.length > 0 && { tags }),
    ...(dependencies.length > 0 && { dependencies }),
    ...(zone !== undefined && { zone }),
    ...(weight !== undefined && { weight }),
  }
}

function keyOf({ surroundings }: Context, args: ParsedArguments, name: string) {
  const { env, cwd } = surroundings
  const clientId = args.text('client-id') ?? env['HAUS_CLIENT_ID']
  const file = args.text('client-secret-file') ?? env['HAUS_CLIENT_SECRET_FILE']
  if (!clientId || !file) {
    throw new RunFailure(
      `There is no key for ${name}: HAUS_CLIENT_ID and HAUS_CLIENT_SECRET_FILE are not both set.`,
      `\`haus token issue ${name} --out ${name}.key\` makes one and prints both.`,
    )
  }
  const clientSecretFile = path.resolve(cwd, file)
  // The program speaks as itself, whatever tokens lie around.
  const own = {
    ...env,
    HAUS_TOKEN_FILE: '',
    HAUS_CLIENT_ID: clientId,
    HAUS_CLIENT_SECRET_FILE: clientSecretFile,
  }
  return { clientId, clientSecretFile, env: own }
}

/** With a cache at hand nobody waits long for a house that does not answer, or cannot now. */
const readTimeoutMs = 5_000
const readAgainMs = 200

async function readCredentials(
  client: HausClient,
  name: string,
  wanted: readonly string[] | undefined,
  signal: AbortSignal,
): Promise<FileCredential[] | undefined> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(readTimeoutMs)])
  const answer = await askWhileBusy(client, name, limit).catch((error: unknown) => {
    const away = error instanceof Failure && ['unreachable', 'unavailable'].includes(error.exit)
    if (away || limit.aborted) return undefined
    if (error instanceof Failure && error.code === 'forbidden') {
      throw new RunFailure(
        `The key is not one of ${name}.`,
        `\`haus token issue ${name}\` makes one.`,
      )
    }
    throw error
  })
  if (answer?.status !== 200) return undefined
  const { credentials } = answer.body
  for (const each of wanted ?? []) {
    if (Object.hasOwn(credentials, each)) continue
    throw new RunFailure(
      `The credential ${each} is not granted to ${name}.`,
      `An operator grants it: \`haus credentials grant ${each} ${name}\`.`,
    )
  }
  return Object.entries(credentials)
    .filter(([each]) => wanted?.includes(each) ?? true)
    .map(([each, { version, expiresAt, data }]) => ({ name: each, version, expiresAt, data }))
}

/** A house that cannot now is there: to go on as if it were away would be too early. */
async function askWhileBusy(client: HausClient, name: string, signal: AbortSignal) {
  for (;;) {
    try {
      return await client.call('getServiceCredentials', { params: { name }, signal })
    } catch (error) {
      const busy = error instanceof Failure && error.exit === 'unavailable'
      if (!busy || signal.aborted) throw error
      await pause(readAgainMs, signal)
    }
  }
}

async function start(line: ProgramLine): Promise<Child> {
  try {
    return await startChild(line)
  } catch (error) {
    const code = systemCodeOf(error)
    if (code === 'ENOENT') {
      throw new RunFailure(
        `The program ${line.program} was not found.`,
        'There is no shell between: give a path, or a program that is on the path.',
        runExitCodes.notFound,
      )
    }
    throw new RunFailure(
      `The program ${line.program} cannot be executed: ${code ?? 'an unknown error'}.`,
      undefined,
      runExitCodes.notExecutable,
    )
  }
}

/** What the SDK warns of; what goes well is told by our own few sentences. */
function logTo(say: (sentence: string) => void): Log {
  return (level, message, fields = {}) => {
    if (level !== 'warn') return
    const details = Object.entries(fields).map(([field, value]) => `${field}=${value}`)
    say(details.length === 0 ? message : `${message} (${details.join(', ')})`)
  }
}
