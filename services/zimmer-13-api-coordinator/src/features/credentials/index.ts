/** The public face of credentials. */
import type { Kysely } from 'kysely'
import type { Clock } from '../../platform/clock/clock.ts'
import type { Key, Random } from '../../platform/crypto/index.ts'
import type { Ledger } from '../../platform/ledger/ledger.ts'
import type { Tables } from '../tables.ts'
import { createReadDatabase } from './database-read.ts'
import { Decryption } from './decryption.ts'
import { KeyRing } from './key-ring.ts'
import { createReading, type Reading } from './reading.ts'
import { createManagement, type Management, type ManagementLimits } from './service.ts'
import type { CredentialView } from './view.ts'

export { credentialRoutes } from './routes.ts'
export { CredentialView } from './view.ts'

export interface CredentialsOptions {
  readonly database: { readonly db: Kysely<Tables> }
  readonly ledger: Ledger
  readonly view: CredentialView
  readonly rootKey: Key
  readonly houseId: string
  readonly clock: Clock
  readonly random: Random
  /** The name behind an alias; any other text as it is. */
  readonly canonicalService: (name: string) => string
  /** Bound of all values held in the clear; 64 MiB by default. */
  readonly cacheMaxBytes?: number
  readonly limits?: Partial<ManagementLimits>
}

interface CredentialsStatus {
  readonly live: number
  /** Values held in the clear. */
  readonly cachedBytes: number
  readonly integrityFailures: number
}

export interface Credentials extends Management, Omit<Reading, 'cachedBytes'> {
  status(): CredentialsStatus
}

export function createCredentials(options: CredentialsOptions): Credentials {
  const { ledger, view, rootKey, houseId, clock, random, canonicalService, cacheMaxBytes, limits } =
    options
  const { db } = options.database
  const keyRing = new KeyRing({ db, ledger, rootKey, houseId, clock, random })
  const read = createReadDatabase(ledger, clock)
  const decryption = new Decryption({ db, read, keyRing, houseId })
  const management = createManagement({
    db,
    ledger,
    read,
    view,
    keyRing,
    houseId,
    clock,
    random,
    canonicalService,
    ...(limits !== undefined && { limits }),
  })
  const reading = createReading({
    view,
    ledger,
    read,
    decryption,
    clock,
    canonicalService,
    ...(cacheMaxBytes !== undefined && { cacheMaxBytes }),
  })
  return {
    ...management,
    readFor: reading.readFor,
    grantedTo: reading.grantedTo,
    versionsOf: reading.versionsOf,
    reveal: reading.reveal,

    status: () => ({
      live: view.size,
      cachedBytes: reading.cachedBytes,
      integrityFailures: view.integrity.failures,
    }),

    /** Wipes every value and key in memory. */
    close() {
      reading.close()
      keyRing.close()
    },
  }
}
