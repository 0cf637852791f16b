/**
 * What `joinHaus` is told, by its options and by the environment. Everything that a person can get
 * wrong is found here, before anything is sent, and said in one sentence that names the mend.
 */
import path from 'node:path'
import { readSecretFile, type ClientKey } from '../client/index.ts'
import type { Clock } from '../platform/clock.ts'
import type { Log } from '../platform/log.ts'
import type { Health } from './health.ts'
import type { Registration } from './membership.ts'

export interface JoinOptions<C> extends Registration {
  /** Default: `HAUS_URL`. */
  readonly url?: string
  /** Default: `HAUS_CLIENT_ID`. */
  readonly clientId?: string
  /** Secret zero. Default: `HAUS_CLIENT_SECRET_FILE`. */
  readonly clientSecretFile?: string
  /** `false`: none. Default: `<name>-<port>.cache` in `HAUS_CACHE_DIR`, or in the user's cache folder. */
  readonly cacheFile?: string | false
  /** How long to wait for a house that is away when there is no cache. Default: 60 s. */
  readonly startTimeoutMs?: number
  /** Gives the configuration its type, and throws at one that the program cannot work with. */
  readonly parseConfig?: (data: Readonly<Record<string, unknown>>) => C
  /** Share of the capacity in use, 0 to 1: told with each heartbeat. */
  readonly load?: () => number
  /** `degraded` asks for less traffic. */
  readonly status?: () => 'healthy' | 'degraded'
  /** From `createHealth`, when it answers before the house is joined. */
  readonly health?: Health
  /** Takes nothing new and finishes what is under way, such as `server.close()`. */
  readonly drain?: () => unknown
  /** How long `drain` may take. Default: 20 s, since platforms kill after 30 s. */
  readonly drainTimeoutMs?: number
  /** Drain at SIGTERM and SIGINT. Default: true. */
  readonly signals?: boolean
  /** End the process with 0 once it has drained at a signal. Default: false. */
  readonly exit?: boolean
  /** Default: JSON lines on standard error. */
  readonly log?: Log
}

/** What is outside of the program, so that tests can stand in for it. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly homeFolder: () => string
  readonly clock: Clock
  readonly unit: () => number
  readonly log: Log
  /** Calls `task` at each signal; returns how to stop that. */
  readonly onSignal: (task: (signal: string) => void) => () => void
  readonly exit: (code: number) => void
}

export class SettingsError extends Error {
  override readonly name = 'SettingsError'
}

export interface Settings {
  readonly url: string
  readonly clientId: string
  /** Read again at each renewal, so that a new secret counts. */
  readonly key: () => Promise<ClientKey>
  readonly cacheFile: string | undefined
  readonly registration: Registration
}

/** @throws SettingsError, SecretFileError */
export async function readSettings<C>(
  options: JoinOptions<C>,
  { env, homeFolder }: Surroundings,
): Promise<Settings> {
  const given = (value: string | undefined, variable: string, what: string): string => {
    const found = value ?? env[variable]
    if (found === undefined || found === '') {
      throw new SettingsError(`${variable} is not set: it is ${what}.`)
    }
    return found
  }
  const url = given(
    options.url,
    'HAUS_URL',
    'the address of the house, such as http://127.0.0.1:8000',
  )
  const clientId = given(options.clientId, 'HAUS_CLIENT_ID', 'the id of the key of this service')
  const file = given(
    options.clientSecretFile,
    'HAUS_CLIENT_SECRET_FILE',
    'the path of the file that holds the secret of the key',
  )
  const key = async (): Promise<ClientKey> => ({
    clientId,
    clientSecret: await readSecretFile(file, 'HAUS_CLIENT_SECRET_FILE'),
  })
  await key()
  return {
    url,
    clientId,
    key,
    cacheFile: cacheFileOf(options, env, homeFolder),
    registration: registrationOf(options),
  }
}

function cacheFileOf(
  { cacheFile, name, port }: JoinOptions<unknown>,
  env: Surroundings['env'],
  homeFolder: () => string,
): string | undefined {
  if (cacheFile === false) return undefined
  if (cacheFile !== undefined) return cacheFile
  const own = env['HAUS_CACHE_DIR']
  const folder = own
    ? own
    : path.join(env['XDG_CACHE_HOME'] || path.join(homeFolder(), '.cache'), 'haus')
  // The name is checked by the house; here it must only stay in its folder.
  return path.join(folder, `${encodeURIComponent(name)}-${port}.cache`)
}

/** By name, so that a field that the contract gains cannot be forgotten here. */
const registrationFields: Readonly<Record<keyof Registration, true>> = {
  name: true,
  version: true,
  port: true,
  address: true,
  scheme: true,
  healthEndpoint: true,
  healthIntervalSeconds: true,
  credentialsNeeded: true,
  dependencies: true,
  tags: true,
  metadata: true,
  zone: true,
  weight: true,
  endpoints: true,
}

function registrationOf(options: Registration & { readonly health?: Health }): Registration {
  const { name, version, port } = options
  const probed = options.health && { healthEndpoint: '/health/ready' }
  const more = Object.fromEntries(
    Object.entries(options).filter(
      ([field, value]) => field in registrationFields && value !== undefined,
    ),
  )
  return { ...probed, ...more, name, version, port }
}
