/** A connection for the ledger's own work, and whether not getting one means that the database is away. */
import type pg from 'pg'
import type { DatabaseKind } from '../database/index.ts'

/** The embedded database was still at something else after the pool's 10 s: alive, and nothing was sent. */
export class Busy extends Error {
  override readonly name = 'Busy'

  constructor(cause: unknown) {
    super('the embedded database is busy', { cause })
  }
}

/** @throws Busy when somebody else holds the embedded database's only connection; a dead engine has none. */
export async function connect(kind: DatabaseKind, pool: pg.Pool): Promise<pg.PoolClient> {
  try {
    return await pool.connect()
  } catch (error) {
    throw kind === 'embedded' && pool.totalCount > 0 ? new Busy(error) : error
  }
}
