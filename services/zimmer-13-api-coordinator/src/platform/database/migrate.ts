/**
 * Brings the schema up to this binary, forward only.
 *
 * One advisory lock covers the whole run and one transaction all its changes: replicas that start
 * together wait for the first one and then find nothing to do, and a failure leaves the schema as
 * it was. It does
 * not go down, does not reorder, and does not run beside migrations it does not know.
 */
import { HausError } from '@haus/contract'
import { sql, type Kysely } from 'kysely'
import { Migrator, type Migration } from 'kysely/migration'
import { hausSchema } from './database.ts'

export type { Migration }

const migrationTable = 'migration'
/** Any constant does, as long as it never changes: binaries of different versions must exclude each other. */
const advisoryLockKey = 4_874_713_000_013
/**
 * For one statement, and for waiting until another start has finished: longer than any migration
 * of tables this small should take, and below the driver's own limit for an answer.
 */
const statementTimeout = '60s'

export async function migrate<Tables>(
  db: Kysely<Tables>,
  migrations: Record<string, Migration>,
): Promise<{ applied: string[] }> {
  return db.connection().execute(async (connection) => {
    // A session lock: Kysely's own comes too late for the tables it keeps its books in, and a
    // lock inside a transaction would hide the error of a migration behind that of its clean-up.
    await sql`select set_config('statement_timeout', ${statementTimeout}, false)`.execute(
      connection,
    )
    try {
      await sql`select pg_advisory_lock(${advisoryLockKey})`.execute(connection)
      return await migrateLocked(connection, migrations)
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
  } catch {}
}

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
