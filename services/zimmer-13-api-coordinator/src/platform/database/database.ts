/**
 * What the rest of Haus sees of its database: one shape over PGlite and PostgreSQL.
 *
 * There is no repository layer and no fake: the seam is the PostgreSQL protocol itself, so both
 * kinds share driver, dialect, types, errors and migrations.
 */
import type { HausError } from '@haus/contract'
import type { Kysely } from 'kysely'
import type pg from 'pg'

export type DatabaseKind = 'embedded' | 'postgres'

/** The schema every table of Haus lives in. Raw SQL names it; Kysely adds it by itself. */
export const hausSchema = 'haus'

/** A request waits for the database no longer: callers try again, and none must pile up. */
export const readTimeoutMs = 1_000

/*
 * Time limits. On PostgreSQL a statement ends after 15 s and a forgotten transaction after 10 s, on
 * the server; a server that says nothing at all is given up by the driver after 75 s. On PGlite
 * nothing can end a statement, and whoever waits behind it waits on: page every read. There a wait
 * for the connection ends after 10 s.
 */

/** The part of a pino logger that this folder uses. */
export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

export interface Database<Tables> {
  readonly kind: DatabaseKind
  /** Queries go to schema `haus` on the general pool. */
  readonly db: Kysely<Tables>
  /** The house's own work, such as following the ledger: 4 connections on PostgreSQL, the only one on PGlite. */
  readonly pool: pg.Pool
  /**
   * Reads that a request waits for. On PostgreSQL they have 8 connections of their own and the
   * server ends each after `readTimeoutMs`: reads that hang can neither pile up nor keep the house
   * from following its ledger, which would look like an outage. On PGlite the same object as `db`.
   */
  readonly readDb: Kysely<Tables>
  /** One connection of the ledger's own on PostgreSQL, so that no read delays a flush; on PGlite the same object as `pool`. */
  readonly ledgerPool: pg.Pool
  /**
   * Calls back for every NOTIFY on the channel, across reconnects, until the returned function is
   * called. What is sent while the connection is away is lost: the caller also polls.
   */
  listen(channel: string, onNotify: (payload: string) => void): Promise<() => Promise<void>>
  /** Returns within 3 s, whatever the state of the database; further calls return the same promise. */
  close(): Promise<void>
}

export interface OpenDatabaseOptions {
  /** A `postgres://` URL. Without it the embedded database under `dataDir` is used. */
  readonly url?: string | undefined
  readonly dataDir: string
  readonly log: Log
  /**
   * Called once at most, when the embedded engine has died and the process must end: nothing is
   * acknowledged after it, every pending query has failed or is about to.
   */
  readonly onFatal: (error: HausError) => void
}
