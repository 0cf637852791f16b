import { HausError, listAudit } from '@haus/contract'
import type { Kysely } from 'kysely'
import { decodeCursor, encodeCursor } from '../../platform/http/cursor.ts'
import type { Routes } from '../../platform/http/index.ts'
import type { Clock } from '../../platform/clock/clock.ts'
import { createDatabaseRead, type Ledger } from '../../platform/ledger/index.ts'
import type { LedgerTables } from '../../platform/ledger/table.ts'
import { selectAudit } from './store.ts'

const limitDefault = 100

export function auditRoutes(
  routes: Routes,
  db: Kysely<LedgerTables>,
  ledger: Pick<Ledger, 'status'>,
  clock: Clock,
): void {
  const read = createDatabaseRead({
    readable: () => ledger.status().readable,
    clock,
    detail: 'The database is away, and the audit is read from it. Try again in a moment.',
  })
  routes.implement(listAudit, async ({ query }) => {
    const { limit = limitDefault, cursor, ...filter } = query
    const before = decodeCursor(cursor)
    // At most 15 digits: more are no longer exact as a number.
    if (before !== null && !/^\d{1,15}$/.test(before)) {
      throw new HausError('invalid_request', 'The cursor is not one of the audit.', {
        fields: [{ field: 'query.cursor', detail: 'is not a cursor of this list' }],
      })
    }
    const beforeId = before === null ? null : Number(before)
    const { records, lastId } = await read(() => selectAudit(db, filter, beforeId, limit))
    const nextCursor = lastId === null ? null : encodeCursor(String(lastId))
    return { status: 200, body: { items: records, nextCursor } }
  })
}
