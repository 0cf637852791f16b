/**
 * Reads of the tables on behalf of a request: with a deadline, and refused in the words of the
 * contract. The query is to go over `readDb`, where PostgreSQL ends what is no longer waited for.
 */
import { HausError } from '@haus/contract'
import type { Clock } from '../clock/clock.ts'
import { readTimeoutMs } from '../database/index.ts'
import { isInfrastructure } from './commit.ts'

export type ReadDatabase = <T>(query: () => Promise<T>) => Promise<T>

export interface DatabaseReadOptions {
  /** False: refused at once, as by the ledger's own status. */
  readonly readable: () => boolean
  readonly clock: Clock
  /** What the caller is told when the database is away. */
  readonly detail: string
  /** Errors that the work throws itself, and that say nothing about the database. */
  readonly isOurs?: (error: unknown) => boolean
}

/** A database that is away is one and the same refusal, whichever table was to be read. */
export function createDatabaseRead(options: DatabaseReadOptions): ReadDatabase {
  const { readable, clock, detail, isOurs = () => false } = options
  const unavailable = (cause?: unknown): HausError =>
    new HausError('writes_unavailable', detail, {
      retryAfterSeconds: 1,
      ...(cause !== undefined && { cause }),
    })
  return async (query) => {
    if (!readable()) throw unavailable()
    const late = Promise.withResolvers<never>()
    const cancel = clock.after(readTimeoutMs, () => late.reject(unavailable()))
    try {
      return await Promise.race([query(), late.promise])
    } catch (error) {
      if (error instanceof HausError || isOurs(error) || !isInfrastructure(error)) throw error
      throw unavailable(error)
    } finally {
      cancel()
    }
  }
}
