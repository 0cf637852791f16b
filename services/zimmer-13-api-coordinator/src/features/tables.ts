/** The database as TypeScript sees it: the sum of what the features keep. */
import type { LedgerTables } from '../platform/ledger/table.ts'
import type { CredentialTables } from './credentials/table.ts'
import type { GatewayTables } from './gateway/table.ts'
import type { HealthTables } from './health/table.ts'
import type { IdentityTables } from './identity/table.ts'
import type { RegistryTables } from './registry/table.ts'

export interface Tables
  extends
    LedgerTables,
    IdentityTables,
    CredentialTables,
    RegistryTables,
    HealthTables,
    GatewayTables {}
