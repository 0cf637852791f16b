/** What proves that Haus set the aliases of a service. */
import { sql, type Kysely } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // Null: there are none, or they are of before; those are sealed when the house opens next.
  await sql.raw(`alter table haus.service add column aliases_mac bytea`).execute(db)
}
