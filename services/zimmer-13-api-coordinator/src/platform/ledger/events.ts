/** Reading the ledger. Pages only: one long query on the embedded database would hold up every flush. */
import type { CompiledQuery, Kysely } from 'kysely'
import type { Database } from '../database/index.ts'
import { headMissing } from './commit.ts'
import { connect } from './connect.ts'
import type { LedgerEvent } from './ledger.ts'
import type { LedgerTables } from './table.ts'
import { asError } from '../errors/thrown.ts'

/** A page by primary key takes milliseconds: a connection silent for so long is given up. */
const followTimeoutMs = 5_000

/** Events after `index`, oldest first. */
export async function readEvents(
  db: Kysely<LedgerTables>,
  afterIndex: number,
  limit: number,
): Promise<LedgerEvent[]> {
  const rows = await selectEvents(db, afterIndex, limit).execute()
  return rows.map((row) => ({ ...row, time: row.time.toISOString() }))
}

/**
 * The same for the follower, all of whose work waits behind it: PostgreSQL that went silent must
 * not hold it for the driver's minute. A connection that failed is not reused.
 * @throws Busy
 */
export async function readEventsInTime(
  database: Database<LedgerTables>,
  afterIndex: number,
  limit: number,
): Promise<LedgerEvent[]> {
  const query = selectEvents(database.db, afterIndex, limit).compile()
  const rows = await inTime<Omit<LedgerEvent, 'time'> & { time: Date }>(database, query)
  return rows.map((row) => ({ ...row, time: row.time.toISOString() }))
}

/**
 * Fails when no change could be numbered, which following does not notice.
 * @throws Busy, HausError database_corrupt
 */
export async function checkHead(database: Database<LedgerTables>): Promise<void> {
  const query = database.db.selectFrom('ledger_head').select('last_event').compile()
  const rows = await inTime(database, query)
  if (rows.length === 0) throw headMissing()
}

async function inTime<Row extends object>(
  database: Database<LedgerTables>,
  { sql: text, parameters }: CompiledQuery,
): Promise<Row[]> {
  // Known to the driver for a single query too, though its types do not say so.
  const query = {
    text,
    values: [...parameters],
    ...(database.kind === 'postgres' && { query_timeout: followTimeoutMs }),
  }
  const client = await connect(database.kind, database.pool)
  try {
    const { rows } = await client.query<Row>(query)
    client.release()
    return rows
  } catch (error) {
    client.release(asError(error))
    throw error
  }
}

function selectEvents(db: Kysely<LedgerTables>, afterIndex: number, limit: number) {
  return db
    .selectFrom('ledger_event')
    .select(['index', 'time', 'type', 'subject', 'service', 'data'])
    .where('index', '>', afterIndex)
    .orderBy('index')
    .limit(limit)
}
