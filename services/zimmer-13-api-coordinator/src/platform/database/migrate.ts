/**
 * Brings the schema up to this binary, forward only.
 *
 * One advisory lock covers the whole run and one transaction all its changes: replicas that start
 * together wait for the first one and then find nothing to do, and a failure leaves the schema as
 * it was. It does not go down, does not reorder, and does not run beside migrations it does not know.
 */
import { HausError } from '@haus/contract'
import { sql, type Kysely } from 'kysely'
import { Migrator, type Migration } from 'kysely/migration'
import { hausSchema, type Log } from './database.ts'
import { codeOf } from '../errors/thrown.ts'

export type { Migration }

const migrationTable = 'migration'
/** Any constant does, as long as it never changes: binaries of different versions must exclude each other. */
const advisoryLockKey = 4_874_713_000_013
/** Longer than any migration of tables this small should take, and below the driver's own limit for an answer. */
const statementTimeoutMs = 60_000
/** For another start to finish. Below that of statements, so that it is the one that is told. */
const defaultLockTimeoutMs = 55_000
/** As often as the wait for a server that is not up yet is told of. */
const tellEveryMs = 1_000

export interface MigrateOptions {
  readonly log: Log
  /** Tests do not wait for a minute. */
  readonly lockTimeoutMs?: number
}

export async function migrate<Tables>(
  db: Kysely<Tables>,
  migrations: Record<string, Migration>,
  options: MigrateOptions,
): Promise<{ applied: string[] }> {
  const { log, lockTimeoutMs = defaultLockTimeoutMs } = options
  return db.connection().execute(async (connection) => {
    // A session lock: Kysely's own comes too late for the tables it keeps its books in, and a
    // lock inside a transaction would hide the error of a migration behind that of its clean-up.
    await sql`select set_config('statement_timeout', ${String(statementTimeoutMs)}, false),
      set_config('lock_timeout', ${String(lockTimeoutMs)}, false)`.execute(connection)
    try {
      await takeLock(connection, log, lockTimeoutMs)
      return await migrateLocked(connection, migrations)
    } catch (error) {
      throw isForbidden(error) ? await forbidden(connection, error) : error
    } finally {
      await leave(connection)
    }
  })
}

/** A connection that is gone has let go of the lock by itself, and its own error matters more. */
async function leave<Tables>(connection: Kysely<Tables>): Promise<void> {
  try {
    await sql`select pg_advisory_unlock(${advisoryLockKey})`.execute(connection)
    await sql`reset statement_timeout`.execute(connection)
    await sql`reset lock_timeout`.execute(connection)
  } catch {}
}

async function takeLock<Tables>(
  connection: Kysely<Tables>,
  log: Log,
  timeoutMs: number,
): Promise<void> {
  const startedMs = performance.now()
  const telling = setInterval(() => {
    const waitedMs = Math.round(performance.now() - startedMs)
    log.warn({ waitedMs }, 'waiting for another start to finish its migrations')
  }, tellEveryMs)
  try {
    await sql`select pg_advisory_lock(${advisoryLockKey})`.execute(connection)
  } catch (error) {
    if (codeOf(error) !== lockNotAvailable) throw error
    const holder = await holderOfLock(connection)
    throw new HausError(
      'migration_locked',
      `another start of Haus has been migrating this database for more than ${Math.round(timeoutMs / 1_000)} s${holder}: wait until it has finished, or end it, and start again`,
      { cause: error },
    )
  } finally {
    clearInterval(telling)
  }
}

/** For the sentence only: it may have finished just now. */
async function holderOfLock<Tables>(connection: Kysely<Tables>): Promise<string> {
  const { rows } = await sql<{ pid: number }>`
    select pid from pg_locks where locktype = 'advisory' and granted
      and database = (select oid from pg_database where datname = current_database())
      and (classid::bigint << 32) + objid::bigint = ${advisoryLockKey}`.execute(connection)
  return rows[0] ? ` (PostgreSQL's process ${rows[0].pid})` : ''
}

function isForbidden(error: unknown): boolean {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
  return codeOf(cause) === insufficientPrivilege
}

/** What to grant, by what is there. */
async function forbidden<Tables>(connection: Kysely<Tables>, cause: unknown): Promise<HausError> {
  const { rows } = await sql<{ role: string; database: string; may_use: boolean | null }>`
    select quote_ident(current_user) as role, quote_ident(current_database()) as database,
      (select has_schema_privilege(oid, 'usage') and has_schema_privilege(oid, 'create')
       from pg_namespace where nspname = ${hausSchema}) as may_use`.execute(connection)
  const { role, database, may_use: mayUse } = rows[0] ?? { role: '', database: '', may_use: null }
  const detail =
    mayUse === null
      ? `the role ${role} may not make the schema ${hausSchema} in the database ${database}: let the owner of the database say "grant create on database ${database} to ${role}"`
      : mayUse
        ? `the role ${role} does not own the tables in the schema ${hausSchema} of the database ${database}: connect as the role that does, or have the tables given to this one`
        : `the role ${role} may not use the schema ${hausSchema} in the database ${database}: let the owner of the schema say "grant usage, create on schema ${hausSchema} to ${role}"`
  return new HausError('database_forbidden', detail, { cause })
}

const lockNotAvailable = '55P03'
const insufficientPrivilege = '42501'

async function migrateLocked<Tables>(
  connection: Kysely<Tables>,
  migrations: Record<string, Migration>,
): Promise<{ applied: string[] }> {
  await refuseNewerSchema(connection, migrations)
  const { error, results } = await new Migrator({
    db: connection,
    provider: { getMigrations: () => Promise.resolve(migrations) },
    migrationTableSchema: hausSchema,
    migrationTableName: migrationTable,
    migrationLockTableName: `${migrationTable}_lock`,
  }).migrateToLatest()
  if (error !== undefined) {
    const failed = results?.find((result) => result.status === 'Error')?.migrationName
    throw new Error(failed ? `migration ${failed} failed` : 'the migrations cannot be run', {
      cause: error,
    })
  }
  return { applied: (results ?? []).map((result) => result.migrationName) }
}

async function refuseNewerSchema<Tables>(
  connection: Kysely<Tables>,
  migrations: Record<string, Migration>,
): Promise<void> {
  const table = `${hausSchema}.${migrationTable}`
  const found = await sql<{ present: boolean }>`
    select to_regclass(${table}) is not null as present`.execute(connection)
  if (!found.rows[0]?.present) return
  const applied = await sql<{ name: string }>`
    select name from ${sql.table(table)} order by name`.execute(connection)
  const unknown = applied.rows.find(({ name }) => !Object.hasOwn(migrations, name))
  if (unknown) {
    throw new HausError(
      'database_too_new',
      `the database holds migration "${unknown.name}", which this Haus does not know: start the newer Haus that made it, or restore a backup from before the upgrade`,
    )
  }
}
