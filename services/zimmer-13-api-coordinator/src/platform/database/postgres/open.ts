/**
 * Opens PostgreSQL by URL: waits for a server that is still starting, refuses one that cannot
 * carry Haus, and gives the ledger a connection of its own.
 *
 * The URL holds the password. It is parsed once here, and neither it nor an error that quotes it
 * goes any further.
 */
import { HausError } from '@haus/contract'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import { parseIntoClientConfig } from 'pg-connection-string'
import { columnTypes } from '../column-types.ts'
import { hausSchema, readTimeoutMs, type Database, type Log } from '../database.ts'
import { surviveLoss } from '../survive-loss.ts'
import { startListener } from './listener.ts'
import { codeOf } from '../../errors/thrown.ts'

export interface OpenPostgresOptions {
  readonly url: string
  readonly log: Log
  /** How long a server may take to come up: compose starts both at once. */
  readonly startTimeoutMs?: number
  /** Tests of a silent server do not wait for more than a minute. */
  readonly queryTimeoutMs?: number
}

const minimumMajor = 16
const defaultStartTimeoutMs = 60_000
const retryMs = 1_000
/** A server that does not answer within this time counts as away. */
const connectionTimeoutMs = 5_000
/** No statement of Haus comes near it; a runaway one must not hold locks for longer. */
const statementTimeoutMs = 15_000
/** For a server that went silent: every statement timeout, migrations' included, answers before. */
const defaultQueryTimeoutMs = 75_000
/** A stalled process must not hold the ledger's row against the other replicas. */
const idleInTransactionTimeoutMs = 10_000
const closeTimeoutMs = 2_500
const generalConnections = 4
const readConnections = 8

export async function openPostgres<Tables>(
  options: OpenPostgresOptions,
): Promise<Database<Tables>> {
  const { log } = options
  const target = parseUrl(options.url)
  await waitForServer(target, log, options.startTimeoutMs ?? defaultStartTimeoutMs)

  const clients = new Set<pg.PoolClient>()
  const openPool = (name: string, settings: pg.PoolConfig): pg.Pool => {
    const pool = new pg.Pool({
      ...target.config,
      statement_timeout: statementTimeoutMs,
      query_timeout: options.queryTimeoutMs ?? defaultQueryTimeoutMs,
      idle_in_transaction_session_timeout: idleInTransactionTimeoutMs,
      ...settings,
    })
    // Without a listener a lost idle connection would end the process. The pool replaces it.
    pool.on('error', (error) => log.warn({ err: error, pool: name }, 'database connection lost'))
    pool.on('connect', surviveLoss)
    pool.on('connect', endWhenSilent)
    pool.on('connect', (client) => clients.add(client))
    pool.on('remove', (client) => clients.delete(client))
    return pool
  }
  const pool = openPool('general', { max: generalConnections, idleTimeoutMillis: 60_000 })
  const readPool = openPool('reads', {
    max: readConnections,
    idleTimeoutMillis: 60_000,
    statement_timeout: readTimeoutMs,
  })
  // Pipelined: the statements of a group are sent without waiting for each other's answers.
  const ledgerPool = openPool('ledger', { max: 1, idleTimeoutMillis: 0, pipeline: true })
  const listener = startListener({ config: target.config, log })

  let closed: Promise<void> | undefined
  const close = async (): Promise<void> => {
    let timer: NodeJS.Timeout | undefined
    const deadline = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, closeTimeoutMs)
    })
    const ends = [listener.close(), pool.end(), readPool.end(), ledgerPool.end()]
    await Promise.race([Promise.all(ends), deadline])
    clearTimeout(timer)
    // Held by somebody who never lets go: left open, they would keep the process from ending.
    for (const client of clients) client.connection.stream.destroy()
  }
  const queriesOn = (over: pg.Pool): Kysely<Tables> =>
    new Kysely<Tables>({ dialect: new PostgresDialect({ pool: over }) }).withSchema(hausSchema)
  return {
    kind: 'postgres',
    db: queriesOn(pool),
    pool,
    readDb: queriesOn(readPool),
    ledgerPool,
    listen: (channel, onNotify) => listener.listen(channel, onNotify),
    close: () => (closed ??= close()),
  }
}

/**
 * A server that went silent without a word (a failover, a lost address translation) leaves a
 * connection that looks whole. The driver fails the query after its timeout and would hand the same
 * connection out again, for as long as the kernel believes in it: about a quarter of an hour.
 */
function endWhenSilent(client: pg.PoolClient): void {
  const query = client.query.bind(client) as (...given: unknown[]) => unknown
  client.query = (...given: unknown[]): never => {
    const answer = query(...given)
    if (answer instanceof Promise) {
      answer.catch((error: unknown) => {
        if (error instanceof Error && error.message === 'Query read timeout') void client.end()
      })
    }
    return answer as never
  }
}

interface Target {
  readonly config: pg.ClientConfig
  /** host:port, safe to show. */
  readonly address: string
}

function parseUrl(url: string): Target {
  let config: pg.ClientConfig
  try {
    if (!/^postgres(ql)?:\/\//.test(url)) throw new Error('wrong scheme')
    config = parseIntoClientConfig(url)
  } catch {
    // Not as cause: the parser's error quotes the URL, password included.
    throw new HausError(
      'config_invalid',
      'HAUS_DATABASE_URL is not a PostgreSQL URL: write postgres://user:password@host:5432/database and percent-encode special characters in the password',
    )
  }
  const host = config.host || 'localhost'
  const port = config.port ?? 5432
  return {
    config: {
      ...config,
      host,
      port,
      application_name: 'haus',
      connectionTimeoutMillis: connectionTimeoutMs,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      types: columnTypes,
    },
    address: `${host}:${port}`,
  }
}

async function waitForServer(target: Target, log: Log, startTimeoutMs: number): Promise<void> {
  const startedAt = performance.now()
  for (;;) {
    try {
      await inspectServer(target)
      return
    } catch (error) {
      if (error instanceof HausError) throw error
      const waitedMs = performance.now() - startedAt
      const reason = error instanceof Error ? describe(error) : String(error)
      if (!isPassing(error) || waitedMs + retryMs > startTimeoutMs) {
        throw new HausError(
          'database_unreachable',
          `PostgreSQL at ${target.address} cannot be used: ${reason}; check HAUS_DATABASE_URL and the server`,
        )
      }
      log.warn(
        { address: target.address, reason, waitedMs: Math.round(waitedMs) },
        'waiting for PostgreSQL',
      )
      await new Promise((resolve) => setTimeout(resolve, retryMs))
    }
  }
}

async function inspectServer(target: Target): Promise<void> {
  const client = new pg.Client({ ...target.config, query_timeout: connectionTimeoutMs })
  // An error after the connection is lost also fails the query; unheard it would end the process.
  client.on('error', () => {})
  try {
    await client.connect()
    const { rows } = await client.query<ServerFacts>(
      `select current_setting('server_version') as version,
         current_setting('server_encoding') as encoding,
         pg_is_in_recovery() as standby`,
    )
    const server = rows[0]
    if (!server) throw new Error('the server answered without a row')
    refuseUnfit(server, target.address)
  } finally {
    // Not awaited: a connection that never came up has nothing to say goodbye to.
    client.end().catch(() => {})
  }
}

export interface ServerFacts {
  readonly version: string
  readonly encoding: string
  readonly standby: boolean
}

export function refuseUnfit(server: ServerFacts, address: string): void {
  const refuse = (reason: string): HausError =>
    new HausError('database_incompatible', `PostgreSQL at ${address} ${reason}`)
  if (Number.parseInt(server.version, 10) < minimumMajor) {
    throw refuse(`is version ${server.version}: upgrade it to PostgreSQL ${minimumMajor} or newer`)
  }
  if (server.encoding !== 'UTF8') {
    throw refuse(`stores text as ${server.encoding}: create the database with encoding UTF8`)
  }
  if (server.standby) throw refuse('is a read-only standby: point HAUS_DATABASE_URL at the primary')
}

/** Worth another try: nobody listens yet, the name is not known yet, the server is starting or full. */
const passingCodes = new Set([
  ...['ECONNREFUSED', 'ECONNRESET', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'EPIPE'],
  ...['ENOTFOUND', 'EAI_AGAIN', 'ENOENT'],
  ...['57P01', '57P02', '57P03', '53300'],
])

function isPassing(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.every(isPassing)
  if (!(error instanceof Error)) return false
  const code = codeOf(error)
  if (code !== undefined) return passingCodes.has(code)
  // The driver's own errors carry no code.
  return /timeout|terminated/i.test(error.message)
}

/** A refused connection to a name with several addresses has an empty message of its own. */
function describe(error: Error): string {
  if (error instanceof AggregateError) {
    return error.errors.map((inner) => (inner instanceof Error ? inner.message : '')).join(', ')
  }
  return error.message
}
