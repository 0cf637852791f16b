/** From stored rows to values in the clear. Whatever does not authenticate is named, not skipped. */
import type { Kysely } from 'kysely'
import { AuthenticationFailed } from '../../platform/crypto/index.ts'
import type { Tables } from '../tables.ts'
import type { ReadDatabase } from './database-read.ts'
import { openVersion } from './envelope.ts'
import { KeyFault, type NamedFault } from './integrity.ts'
import type { KeyRing } from './key-ring.ts'
import { loadVersions, type StoredVersion } from './store.ts'

export interface Wanted {
  readonly id: string
  readonly name: string
  readonly version: number
}

/** Stored values that cannot be used. Not yet reported: the caller may have asked for an outdated version. */
export class ValuesFault extends Error {
  override readonly name = 'ValuesFault'
  readonly named: NamedFault

  constructor(named: NamedFault) {
    super(`the values of credential ${named.credentialId} cannot be used`)
    this.named = named
  }
}

export interface DecryptionOptions {
  readonly db: Kysely<Tables>
  readonly read: ReadDatabase
  readonly keyRing: KeyRing
  readonly houseId: string
}

export class Decryption {
  readonly #options: DecryptionOptions

  constructor(options: DecryptionOptions) {
    this.#options = options
  }

  /**
   * The values as JSON bytes, by name. The caller owns the buffers and wipes them.
   * @throws ValuesFault; HausError writes_unavailable
   */
  async open(wanted: readonly Wanted[]): Promise<Map<string, Buffer>> {
    const values = new Map<string, Buffer>()
    if (wanted.length === 0) return values
    const rows = new Map<string, StoredVersion>()
    const { db, read } = this.#options
    const stored = await read(() => loadVersions(db, wanted))
    for (const row of stored) rows.set(row.credentialId, row)
    try {
      for (const each of wanted) values.set(each.name, await this.#openOne(each, rows.get(each.id)))
      return values
    } catch (error) {
      for (const bytes of values.values()) bytes.fill(0)
      throw error
    }
  }

  async #openOne(wanted: Wanted, stored: StoredVersion | undefined): Promise<Buffer> {
    const { id, name, version } = wanted
    const fault = (reason: string): ValuesFault =>
      new ValuesFault({
        credentialId: id,
        name,
        fault: { table: 'credential_version', rowId: `${id}/${version}`, reason },
      })
    if (!stored) throw fault(`the row of version ${version} is missing`)
    try {
      const { houseId, keyRing, read } = this.#options
      const kek =
        keyRing.known(stored.kekVersion) ?? (await read(() => keyRing.get(stored.kekVersion)))
      return openVersion(kek, { houseId, credentialId: id, version }, stored)
    } catch (error) {
      if (error instanceof AuthenticationFailed) {
        throw fault(`the values of version ${version} do not authenticate`)
      }
      if (error instanceof KeyFault) {
        throw new ValuesFault({ credentialId: id, name, fault: error.fault })
      }
      throw error
    }
  }
}
