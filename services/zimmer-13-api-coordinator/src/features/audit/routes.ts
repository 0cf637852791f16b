import { HausError, listAudit } from '@haus/contract'
import type { Kysely } from 'kysely'
import { decodeCursor, pageFrom } from '../../platform/http/cursor.ts'
import type { Routes } from '../../platform/http/index.ts'
import type { LedgerTables } from '../../platform/ledger/table.ts'
import { selectAudit } from './store.ts'

const limitDefault = 100

export function auditRoutes(routes: Routes, db: Kysely<LedgerTables>): void {
  routes.implement(listAudit, async ({ query }) => {
    const { limit = limitDefault, cursor, ...filter } = query
    const before = decodeCursor(cursor)
    if (before !== null && !/^\d{1,16}$/.test(before)) {
      throw new HausError('invalid_request', 'The cursor is not one of the audit.', {
        fields: [{ field: 'query.cursor', detail: 'is not a cursor of this list' }],
      })
    }
    const rows = await selectAudit(db, filter, before === null ? null : Number(before), limit + 1)
    return { status: 200, body: pageFrom(rows, limit, (row) => String(row.id)) }
  })
}
