/**
 * What Haus says when a stored row is not as Haus wrote it.
 *
 * Caught now, because the row's MAC or its authenticated encryption fails:
 *
 * - an inserted, edited or moved grant, and one that was taken back and put in again alone: its
 *   MAC names the credential, the service and the revision that set the grants
 * - any edited column of a credential: name, pointer to the current version, expiry, lifetime in
 *   caches, names of the values, deletion (in either direction)
 * - a pointer set back to an older version, and also the whole old row of a credential put back,
 *   as long as the newer version's row is there: the current version must be the newest stored
 * - an old row that a running process loads after it has seen a newer revision
 * - changed, moved or exchanged ciphertexts, wrapped data keys and wrapped key-encryption keys
 * - a version or key row that is missing when it is needed
 *
 * Not caught: a consistent old state of a credential as a whole (its row, its grants, and every
 * newer version deleted) put back while no process is running, and rows of a credential deleted
 * altogether. Both need a record of the latest state outside the tables that were changed.
 */
import { HausError } from '@haus/contract'
import type { Log } from '../../platform/log/log.ts'

export interface Fault {
  readonly table: 'credential' | 'credential_grant' | 'credential_version' | 'key_encryption_key'
  /** The primary key, its parts joined by a slash. */
  readonly rowId: string
  readonly reason: string
}

/** A credential that cannot be trusted, by the name its row claims. */
export interface NamedFault {
  readonly credentialId: string
  readonly name: string
  readonly fault: Fault
}

/** A key-encryption key cannot be used; whoever needed it says which credential that concerns. */
export class KeyFault extends Error {
  override readonly name = 'KeyFault'
  readonly fault: Fault

  constructor(fault: Fault) {
    super(`key-encryption key ${fault.rowId}: ${fault.reason}`)
    this.fault = fault
  }
}

/** Faults beyond this many at once are one incident: it is logged again rather than remembered. */
const rememberedMax = 1_000

export class IntegrityReports {
  readonly #log: Log
  readonly #reported = new Set<string>()
  #failures = 0

  constructor(log: Log) {
    this.#log = log
  }

  /** How often a check has failed or a read has met such a row. */
  get failures(): number {
    return this.#failures
  }

  /** Counts each time, logs once until the row has been seen whole again. */
  report(fault: Fault): void {
    this.#failures++
    const key = keyOf(fault.table, fault.rowId)
    if (this.#reported.has(key)) return
    if (this.#reported.size >= rememberedMax) this.#reported.clear()
    this.#reported.add(key)
    this.#log.error(
      { table: fault.table, id: fault.rowId, reason: fault.reason },
      'a stored row failed its integrity check and is not used',
    )
  }

  mended(table: Fault['table'], rowId: string): void {
    if (this.#reported.size > 0) this.#reported.delete(keyOf(table, rowId))
  }
}

function keyOf(table: string, rowId: string): string {
  return `${table}/${rowId}`
}

export function integrityFailed({ name, fault }: NamedFault): HausError {
  const mend =
    fault.table === 'credential_grant'
      ? 'Set the services of the credential again'
      : 'Restore the database from a backup, or delete the credential and create it again'
  return new HausError(
    'integrity_failed',
    `Credential "${name}" is not used: in table ${fault.table} ${fault.reason}. ${mend}.`,
  )
}
