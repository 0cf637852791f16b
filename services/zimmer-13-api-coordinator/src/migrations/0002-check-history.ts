/** How often a service is checked, and what the checks of an instance found. */
import { sql, type Kysely } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements = [
  `alter table haus.service add column health_interval_seconds int not null default 30`,
  // One row per instance, which is written over. Half of each page is left free, so that the next
  // version of a row lands beside it and its index is not touched.
  `create table haus.check_history (
    instance_id uuid primary key,
    history text not null,
    written_at timestamptz not null
  ) with (fillfactor = 50)`,
  `alter table haus.check_history alter column history set storage main`,
]
