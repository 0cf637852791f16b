/**
 * Keeps the history bounded. In small steps, because on the embedded database a long delete would
 * hold up every flush.
 */
import { eventRetentionDays } from '@haus/contract'
import { sql, type Kysely } from 'kysely'
import type { Log } from '../log/log.ts'
import type { LedgerTables } from './table.ts'

const auditRetentionDays = 365
/** Kept whatever their age: a clock that jumps ahead must not empty the history. */
const alwaysKept = 10_000
const stepRows = 1_000
const stepsMax = 1_000

export async function pruneHistory(db: Kysely<LedgerTables>, log: Log): Promise<void> {
  try {
    const events = await prune(db, 'ledger_event', 'index', eventRetentionDays)
    const audits = await prune(db, 'audit', 'id', auditRetentionDays)
    if (events + audits > 0)
      log.info({ events, audits }, 'history older than its retention removed')
  } catch (err) {
    log.warn({ err }, 'history could not be pruned; the next round tries again')
  }
}

async function prune(
  db: Kysely<LedgerTables>,
  table: 'ledger_event' | 'audit',
  key: 'index' | 'id',
  days: number,
): Promise<number> {
  let removed = 0
  for (let step = 0; step < stepsMax; step++) {
    const { numAffectedRows } = await sql`
      delete from ${sql.table(`haus.${table}`)} where ${sql.ref(key)} in (
        select ${sql.ref(key)} from ${sql.table(`haus.${table}`)}
        where time < now() - make_interval(days => ${days})
          and ${sql.ref(key)} <= (select max(${sql.ref(key)}) from ${sql.table(`haus.${table}`)}) - ${alwaysKept}
        order by ${sql.ref(key)} limit ${stepRows}
      )`.execute(db)
    removed += Number(numAffectedRows ?? 0)
    if (Number(numAffectedRows ?? 0) < stepRows) break
  }
  return removed
}
