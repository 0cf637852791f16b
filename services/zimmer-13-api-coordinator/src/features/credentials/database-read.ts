/** Reads of the tables on behalf of a request: with a deadline, and refused in the words of the contract. */
import { HausError } from '@haus/contract'
import { AuthenticationFailed } from '../../platform/crypto/index.ts'
import type { Clock } from '../../platform/clock/clock.ts'
import { isInfrastructure } from '../../platform/ledger/commit.ts'
import type { Ledger } from '../../platform/ledger/ledger.ts'
import { KeyFault } from './integrity.ts'

/** An answer that waits longer for the database is a refusal: callers retry, and none must pile up. */
const readTimeoutMs = 1_000

export type ReadDatabase = <T>(query: () => Promise<T>) => Promise<T>

/**
 * Whoever reads values must write an audit record next, and whoever changes must write anyway: a
 * database that is away is the same refusal for all of them.
 */
export function createReadDatabase(ledger: Ledger, clock: Clock): ReadDatabase {
  return async (query) => {
    if (!ledger.status().available) throw unavailable()
    const late = Promise.withResolvers<never>()
    const cancel = clock.after(readTimeoutMs, () => late.reject(unavailable()))
    try {
      return await Promise.race([query(), late.promise])
    } catch (error) {
      if (isOurs(error) || !isInfrastructure(error)) throw error
      throw unavailable(error)
    } finally {
      cancel()
    }
  }
}

function isOurs(error: unknown): boolean {
  return (
    error instanceof HausError || error instanceof KeyFault || error instanceof AuthenticationFailed
  )
}

function unavailable(cause?: unknown): HausError {
  return new HausError(
    'writes_unavailable',
    'The database is away: nothing was written, and no secret leaves without its audit record. Try again in a moment.',
    { retryAfterSeconds: 1, ...(cause !== undefined && { cause }) },
  )
}
