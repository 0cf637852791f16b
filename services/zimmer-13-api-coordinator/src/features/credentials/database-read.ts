/**
 * Reads of credential tables on behalf of a request. Whoever reads values must write an audit
 * record next, and whoever changes must write anyway: a database that is away is the same refusal
 * for all of them.
 */
import type { Clock } from '../../platform/clock/clock.ts'
import { AuthenticationFailed } from '../../platform/crypto/index.ts'
import { createDatabaseRead, type Ledger, type ReadDatabase } from '../../platform/ledger/index.ts'
import { KeyFault } from './integrity.ts'

export type { ReadDatabase }

export function createReadDatabase(ledger: Ledger, clock: Clock): ReadDatabase {
  return createDatabaseRead({
    readable: () => ledger.status().readable,
    clock,
    detail:
      'The database is away: nothing was written, and no secret leaves without its audit record. Try again in a moment.',
    isOurs: (error) => error instanceof KeyFault || error instanceof AuthenticationFailed,
  })
}
