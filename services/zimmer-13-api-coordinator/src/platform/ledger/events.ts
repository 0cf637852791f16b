/** Reading the ledger. Pages only: one long query on the embedded database would hold up every flush. */
import type { Kysely } from 'kysely'
import type { LedgerEvent } from './ledger.ts'
import type { LedgerTables } from './table.ts'

/** Events after `index`, oldest first. */
export async function readEvents(
  db: Kysely<LedgerTables>,
  afterIndex: number,
  limit: number,
): Promise<LedgerEvent[]> {
  const rows = await db
    .selectFrom('ledger_event')
    .select(['index', 'time', 'type', 'subject', 'service', 'data'])
    .where('index', '>', afterIndex)
    .orderBy('index')
    .limit(limit)
    .execute()
  return rows.map((row) => ({ ...row, time: row.time.toISOString() }))
}
