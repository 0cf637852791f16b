/**
 * Opens the embedded database: folder, lock, seed, engine, pool, maintenance, in this order, and
 * lets go of them in reverse.
 */
import path from 'node:path'
import { HausError } from '@haus/contract'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import { columnTypes } from '../column-types.ts'
import { hausSchema, type Database, type Log } from '../database.ts'
import { Notifications } from '../notifications.ts'
import { surviveLoss } from '../survive-loss.ts'
import { dataDirError, DataDirLock, prepareDataDir } from '../data-dir.ts'
import { startEngine, type Engine } from './engine.ts'
import { fatalError } from './fatal-error.ts'
import { startMaintenance, type MaintenanceSchedule } from './maintenance.ts'
import { ensureCluster } from './seed.ts'
import { WorkerSocket } from './worker-socket.ts'

export interface OpenEmbeddedOptions {
  readonly dataDir: string
  readonly log: Log
  readonly onFatal: (error: HausError) => void
  readonly workerUrl?: URL
  readonly schedule?: MaintenanceSchedule
}

/** Part of the 3 s that `close` may take; the rest is for stopping the thread. */
const drainTimeoutMs = 500
const closeTimeoutMs = 2_000

/**
 * How long a query may wait for the one connection. It turns the deadlock of using the outer
 * handle inside a transaction into an error; no load should ever come near it.
 */
const connectionTimeoutMs = 10_000

export async function openEmbedded<Tables>(
  options: OpenEmbeddedOptions,
): Promise<Database<Tables>> {
  const { log } = options
  const dataDir = path.resolve(options.dataDir)
  prepareDataDir(dataDir)
  const lock = new DataDirLock(dataDir)
  try {
    const directory = path.join(dataDir, 'database')
    const fresh = await ensureCluster(directory).catch((error: unknown) => {
      throw error instanceof HausError ? error : dataDirError(dataDir, error)
    })
    const engine = await startEngine({
      directory,
      workerUrl: options.workerUrl,
      onDeath: (reason) => {
        lock.release()
        options.onFatal(fatalError(reason, dataDir))
      },
    }).catch((error: unknown) => {
      throw fatalError(error instanceof Error ? error.message : String(error), dataDir)
    })
    log.debug({ directory, fresh }, 'embedded database opened')
    return connect<Tables>(engine, lock, options)
  } catch (error) {
    lock.release()
    throw error
  }
}

function connect<Tables>(
  engine: Engine,
  lock: DataDirLock,
  options: OpenEmbeddedOptions,
): Database<Tables> {
  const { log } = options
  const notifications = new Notifications()
  const pool = new pg.Pool({
    // Every setting that the driver would otherwise read from PG* variables of the environment.
    host: 'embedded',
    port: 5432,
    user: 'postgres',
    database: 'postgres',
    password: '',
    ssl: false,
    options: '',
    application_name: 'haus',
    stream: () => new WorkerSocket(() => engine.connect()),
    max: 1,
    pipeline: true,
    idleTimeoutMillis: 0,
    connectionTimeoutMillis: connectionTimeoutMs,
    types: columnTypes,
    // The pool replaces a connection after a failed `pool.query`; subscriptions move along.
    // oxlint-disable-next-line typescript/no-misused-promises -- the pool waits for it; its types do not say so
    onConnect: async (client) => {
      client.on('notification', ({ channel, payload }) =>
        notifications.deliver(channel, payload ?? ''),
      )
      for (const channel of notifications.channels()) {
        await client.query(`listen ${pg.escapeIdentifier(channel)}`)
      }
    },
  })
  // Without a listener the end of an idle connection would end the process; the engine's own
  // death is reported by onFatal.
  pool.on('connect', surviveLoss)
  pool.on('error', (error) => log.debug({ err: error }, 'embedded database connection ended'))

  const maintenance = startMaintenance({ pool, log, schedule: options.schedule })
  let closed: Promise<void> | undefined
  const close = async (): Promise<void> => {
    let timer: NodeJS.Timeout | undefined
    const drained = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, drainTimeoutMs)
    })
    // A vacuum under way cannot be interrupted, and a transaction may never be finished.
    await Promise.race([maintenance.stop().then(() => pool.end()), drained])
    clearTimeout(timer)
    await engine.close(closeTimeoutMs)
    lock.release()
  }

  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) }).withSchema(hausSchema)
  return {
    kind: 'embedded',
    db,
    pool,
    readDb: db,
    ledgerPool: pool,
    listen: async (channel, onNotify) => {
      if (notifications.add(channel, onNotify)) {
        await pool.query(`listen ${pg.escapeIdentifier(channel)}`)
      }
      return async () => {
        if (notifications.remove(channel, onNotify)) {
          // A lost or closed connection forgets the channel by itself.
          await pool.query(`unlisten ${pg.escapeIdentifier(channel)}`).catch(() => {})
        }
      }
    },
    close: () => (closed ??= close()),
  }
}
