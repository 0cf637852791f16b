/** The only SQL of health. Small statements on the general pool: history is never worth a late flush. */
import { sql, type Kysely } from 'kysely'
import type { HealthTables } from './table.ts'

/** 400 KB; on PGlite a longer query would hold up every flush. */
const pageRows = 200

export async function* readHistories(
  db: Kysely<HealthTables>,
): AsyncGenerator<{ id: string; history: string }> {
  for (let after = '00000000-0000-0000-0000-000000000000'; ;) {
    const rows = await db
      .selectFrom('check_history')
      .select(['instance_id', 'history'])
      .where('instance_id', '>', after)
      .orderBy('instance_id')
      .limit(pageRows)
      .execute()
    for (const { instance_id: id, history } of rows) yield { id, history }
    const last = rows.at(-1)
    if (!last || rows.length < pageRows) return
    after = last.instance_id
  }
}

/** Only of instances that are there: another process may just have removed one. */
export async function writeHistories(
  db: Kysely<HealthTables>,
  rows: readonly { readonly id: string; readonly history: string }[],
): Promise<void> {
  const ids = rows.map(({ id }) => id)
  const histories = rows.map(({ history }) => history)
  await sql`
    insert into haus.check_history (instance_id, history, written_at)
    select r.id, r.history, now()
    from unnest(${ids}::uuid[], ${histories}::text[]) as r(id, history)
    join haus.instance i on i.id = r.id
    on conflict (instance_id)
      do update set history = excluded.history, written_at = excluded.written_at`.execute(db)
}

export async function removeHistories(
  db: Kysely<HealthTables>,
  ids: readonly string[],
): Promise<void> {
  await sql`delete from haus.check_history where instance_id = any (${[...ids]}::uuid[])`.execute(
    db,
  )
}
