export { createLedger, type LoadableProjection, type RunningLedger } from './create-ledger.ts'
export { createDatabaseRead, type ReadDatabase } from './database-read.ts'
export { GuardLost, write } from './ledger.ts'
export type {
  AuditEntry,
  Entry,
  Ledger,
  LedgerEvent,
  LedgerStatus,
  NewEvent,
  Projection,
  Receipt,
  Write,
  WriteOperation,
} from './ledger.ts'
