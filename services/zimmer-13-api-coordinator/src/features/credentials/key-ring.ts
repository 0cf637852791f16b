/**
 * Key-encryption keys, opened once and held until the house closes. The first is made when the
 * first credential needs it; processes that need it at once make one between them, because only
 * one can insert version 1 and every one seals with what is stored.
 */
import type { Kysely } from 'kysely'
import type { Clock } from '../../platform/clock/clock.ts'
import { AuthenticationFailed, type Key, type Random } from '../../platform/crypto/index.ts'
import { GuardLost, type Ledger } from '../../platform/ledger/ledger.ts'
import type { Tables } from '../tables.ts'
import {
  deriveWrappingKey,
  newKeyEncryptionKey,
  unwrapKeyEncryptionKey,
  wipeKey,
  wrapKeyEncryptionKey,
  type KeyEncryptionKey,
} from './envelope.ts'
import { KeyFault, type Fault } from './integrity.ts'
import { insertKek, loadKek, loadNewestKek, type StoredKek } from './store.ts'

export interface KeyRingOptions {
  readonly db: Kysely<Tables>
  readonly ledger: Ledger
  readonly rootKey: Key
  readonly houseId: string
  readonly clock: Clock
  readonly random: Random
}

export class KeyRing {
  readonly #options: KeyRingOptions
  readonly #wrappingKey: Key
  readonly #keys = new Map<number, KeyEncryptionKey>()
  #newest: Promise<KeyEncryptionKey> | null = null

  constructor(options: KeyRingOptions) {
    this.#options = options
    this.#wrappingKey = deriveWrappingKey(options.rootKey)
  }

  /**
   * What new versions are sealed with.
   * @throws KeyFault
   */
  newest(): Promise<KeyEncryptionKey> {
    if (this.#newest) return this.#newest
    const finding = this.#findNewest()
    this.#newest = finding
    finding.catch(() => (this.#newest = null))
    return finding
  }

  known(version: number): KeyEncryptionKey | undefined {
    return this.#keys.get(version)
  }

  /** @throws KeyFault */
  async get(version: number): Promise<KeyEncryptionKey> {
    const known = this.#keys.get(version)
    if (known) return known
    const stored = await loadKek(this.#options.db, version)
    if (!stored) throw new KeyFault(faultOf(version, `key-encryption key ${version} is missing`))
    return this.#open(stored)
  }

  close(): void {
    for (const kek of this.#keys.values()) wipeKey(kek.key)
    this.#keys.clear()
    this.#newest = null
    wipeKey(this.#wrappingKey)
  }

  async #findNewest(): Promise<KeyEncryptionKey> {
    const { db } = this.#options
    const stored = (await loadNewestKek(db)) ?? (await this.#makeFirst())
    return this.#open(stored)
  }

  async #makeFirst(): Promise<StoredKek> {
    const { db, ledger, houseId, clock, random } = this.#options
    const version = 1
    const kek = newKeyEncryptionKey(version, random)
    const wrapped = wrapKeyEncryptionKey(this.#wrappingKey, houseId, kek, random)
    wipeKey(kek.key)
    try {
      await ledger.append({
        keys: ['key-encryption-key'],
        writes: [insertKek({ version, wrapped }, clock.now())],
        events: [],
        audit: {
          actor: 'haus',
          action: 'createKeyEncryptionKey',
          target: `key-encryption-keys/${version}`,
          outcome: 'allowed',
          code: null,
          source: null,
          requestId: null,
          detail: {},
        },
      })
      return { version, wrapped }
    } catch (error) {
      if (!(error instanceof GuardLost)) throw error
      const winner = await loadNewestKek(db)
      if (!winner) throw error
      return winner
    }
  }

  #open({ version, wrapped }: StoredKek): KeyEncryptionKey {
    const known = this.#keys.get(version)
    if (known) return known
    try {
      const { houseId } = this.#options
      const kek = unwrapKeyEncryptionKey(this.#wrappingKey, houseId, version, wrapped)
      this.#keys.set(version, kek)
      return kek
    } catch (error) {
      if (!(error instanceof AuthenticationFailed)) throw error
      throw new KeyFault(faultOf(version, `key-encryption key ${version} does not open`))
    }
  }
}

function faultOf(version: number, reason: string): Fault {
  return { table: 'key_encryption_key', rowId: String(version), reason }
}
