/** Reading the audit. It is written only by the ledger, in the transaction of what it tells. */
import type { Kysely } from 'kysely'
import type { LedgerTables } from '../../platform/ledger/table.ts'

export interface AuditFilter {
  readonly actor?: string | undefined
  readonly action?: string | undefined
  readonly target?: string | undefined
  readonly outcome?: 'allowed' | 'denied' | 'failed' | undefined
}

/** Newest first, ids below `beforeId` only. */
export async function selectAudit(
  db: Kysely<LedgerTables>,
  filter: AuditFilter,
  beforeId: number | null,
  limit: number,
) {
  let query = db.selectFrom('audit').selectAll().orderBy('id', 'desc').limit(limit)
  if (beforeId !== null) query = query.where('id', '<', beforeId)
  if (filter.actor !== undefined) query = query.where('actor', '=', filter.actor)
  if (filter.action !== undefined) query = query.where('action', '=', filter.action)
  if (filter.target !== undefined) query = query.where('target', '=', filter.target)
  if (filter.outcome !== undefined) query = query.where('outcome', '=', filter.outcome)
  const rows = await query.execute()
  return rows.map(({ time, request_id: requestId, ...row }) => ({
    ...row,
    time: time.toISOString(),
    requestId,
  }))
}
