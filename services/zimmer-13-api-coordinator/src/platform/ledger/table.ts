/** Rows of the ledger. `haus.ledger_head` has exactly one row; its lock is what orders commits. */
import type { ColumnType, Generated } from 'kysely'

export interface LedgerTables {
  ledger_head: { id: number; last_event: number; last_audit: number }
  ledger_event: {
    index: number
    time: Date
    type: string
    subject: string
    service: string | null
    data: ColumnType<Record<string, unknown>, string, never>
  }
  audit: {
    id: number
    time: Date
    actor: string
    action: string
    target: string
    outcome: 'allowed' | 'denied' | 'failed'
    code: string | null
    source: string | null
    request_id: string | null
    detail: ColumnType<Record<string, unknown>, string, never>
  }
  /** One row: who this house is. `key_check` proves that the root key is the right one. */
  house: { id: Generated<number>; house_id: string; key_check: Buffer; created_at: Date }
}
