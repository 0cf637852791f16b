/**
 * Reading the audit. It is written only by the ledger, in the transaction of what it tells.
 *
 * A page looks at 10,000 records at most, whatever the filter: on the embedded database one request
 * for a rare record would otherwise hold up every flush while it walks through a year of history.
 */
import type { Kysely } from 'kysely'
import type { LedgerTables } from '../../platform/ledger/table.ts'

const scannedMax = 10_000

export interface AuditFilter {
  readonly actor?: string | undefined
  readonly action?: string | undefined
  readonly target?: string | undefined
  readonly outcome?: 'allowed' | 'denied' | 'failed' | undefined
}

/** Newest first, ids below `beforeId` only. `lastId`: where the next page goes on; null on the last. */
export async function selectAudit(
  db: Kysely<LedgerTables>,
  filter: AuditFilter,
  beforeId: number | null,
  limit: number,
) {
  const { oldest, newest } = await db
    .selectFrom('audit')
    .select(({ fn }) => [fn.min('id').as('oldest'), fn.max('id').as('newest')])
    .executeTakeFirstOrThrow()
  if (newest === null || oldest === null) return { records: [], lastId: null }
  // Ids have no gaps: a range of them is a number of records.
  const before = Math.min(beforeId ?? Number.POSITIVE_INFINITY, newest + 1)
  const from = Math.max(oldest, before - scannedMax)
  let query = db
    .selectFrom('audit')
    .selectAll()
    .where('id', '<', before)
    .where('id', '>=', from)
    .orderBy('id', 'desc')
    .limit(limit)
  if (filter.actor !== undefined) query = query.where('actor', '=', filter.actor)
  if (filter.action !== undefined) query = query.where('action', '=', filter.action)
  if (filter.target !== undefined) query = query.where('target', '=', filter.target)
  if (filter.outcome !== undefined) query = query.where('outcome', '=', filter.outcome)
  const rows = await query.execute()
  const records = rows.map(({ time, request_id: requestId, ...row }) => ({
    ...row,
    time: time.toISOString(),
    requestId,
  }))
  const full = records.length === limit
  const lastId = (full ? records.at(-1)?.id : undefined) ?? from
  return { records, lastId: lastId > oldest ? lastId : null }
}
