/**
 * Keeps the history bounded. In small steps by primary key, because on the embedded database a long
 * statement would hold up every flush.
 *
 * The newest 10,000 rows are kept whatever their age, and age is counted back from the oldest of
 * them, or from now where that is earlier. So a database clock that jumped ahead removes nothing
 * before 10,000 rows carry its time, and a house that falls silent keeps what it had.
 */
import { eventRetentionDays } from '@haus/contract'
import { sql, type Kysely } from 'kysely'
import type { Log } from '../log/log.ts'
import type { LedgerTables } from './table.ts'

const auditRetentionDays = 365
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
  tableName: 'ledger_event' | 'audit',
  keyName: 'index' | 'id',
  days: number,
): Promise<number> {
  const table = sql.table(`haus.${tableName}`)
  const key = sql.ref(keyName)
  const { rows } = await sql<{ last: number; before: Date }>`
    select ${key} as last, least(now(), time) - make_interval(days => ${days}) as before
    from ${table} where ${key} <= (select max(${key}) from ${table}) - ${alwaysKept}
    order by ${key} desc limit 1`.execute(db)
  const [limit] = rows
  if (!limit) return 0

  let removed = 0
  for (let step = 0; step < stepsMax; step++) {
    // Looks at the oldest rows only: a condition on time alone reads the whole table when nothing is old.
    const { numAffectedRows } = await sql`
      delete from ${table} where ${key} in (
        select ${key} from (
          select ${key}, time from ${table} where ${key} <= ${limit.last} order by ${key} limit ${stepRows}
        ) oldest where oldest.time < ${limit.before}
      )`.execute(db)
    removed += Number(numAffectedRows ?? 0)
    if (Number(numAffectedRows ?? 0) < stepRows) break
  }
  return removed
}
