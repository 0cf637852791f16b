/**
 * Brings the schema up to this binary, forward only.
 *
 * The whole run is one transaction under one advisory lock: replicas that start together wait for
 * the first one and then find nothing to do, and a failure leaves the schema as it was. It does
 * not go down, does not reorder, and does not run beside migrations it does not know.
 */
import { HausError } from '@haus/contract'
import { sql, type Kysely, type Transaction } from 'kysely'
import { Migrator, type Migration } from 'kysely/migration'
import { hausSchema } from './database.ts'

export type { Migration }

const migrationTable = 'migration'
/** Any constant does, as long as it never changes: binaries of different versions must exclude each other. */
const advisoryLockKey = 4_874_713_000_013
/** Longer than any migration should take; shorter than an operator's patience with a hung one. */
const lockTimeout = '120s'

export async function migrate<Tables>(
  db: Kysely<Tables>,
  migrations: Record<string, Migration>,
): Promise<{ applied: string[] }> {
  return db.transaction().execute(async (trx) => {
    await sql`select set_config('statement_timeout', '0', true), set_config('lock_timeout', ${lockTimeout}, true)`.execute(
      trx,
    )
    await sql`select pg_advisory_xact_lock(${advisoryLockKey})`.execute(trx)
    await refuseNewerSchema(trx, migrations)
    const { error, results } = await new Migrator({
      db: trx,
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
  })
}

async function refuseNewerSchema<Tables>(
  trx: Transaction<Tables>,
  migrations: Record<string, Migration>,
): Promise<void> {
  const table = `${hausSchema}.${migrationTable}`
  const found = await sql<{ present: boolean }>`
    select to_regclass(${table}) is not null as present`.execute(trx)
  if (!found.rows[0]?.present) return
  const applied = await sql<{ name: string }>`
    select name from ${sql.table(table)} order by name`.execute(trx)
  const unknown = applied.rows.find(({ name }) => !Object.hasOwn(migrations, name))
  if (unknown) {
    throw new HausError(
      'database_too_new',
      `the database holds migration "${unknown.name}", which this Haus does not know: start the newer Haus that made it, or restore a backup from before the upgrade`,
    )
  }
}
