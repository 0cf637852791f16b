/**
 * Aliases: which other names lead to a service.
 *
 * An alias gives rights: a key or a grant that is made for it is the service's. So the aliases of a
 * row carry a MAC, and a writer in the database cannot give his service another name. What the MAC
 * cannot show, an old row of Haus's own put back, must not take anything from anybody either: an
 * alias is followed only while it is nobody's name, one service's alone, and has no keys and
 * grants of its own. One that is not followed is counted and reported once.
 */
import { deriveKey, rowMac, rowMacMatches, type Key } from '../../platform/crypto/index.ts'
import type { Log } from '../../platform/log/log.ts'
import type { ServiceRecord } from './records.ts'

type Sealed = Pick<ServiceRecord, 'name' | 'aliases' | 'aliasesMac'>

/** What other features keep under a name, registered or not. */
export interface Holdings {
  readonly liveKeys: number
  /** Credentials that are granted to it. */
  readonly grants: number
}

export class AliasSeal {
  readonly #key: Key

  constructor(rootKey: Key) {
    this.#key = deriveKey(rootKey, 'haus/service-aliases/v1')
  }

  /** Null for none: no alias gives no rights. */
  macOf(name: string, aliases: readonly string[]): string | null {
    if (aliases.length === 0) return null
    return rowMac(this.#key, 'service', { name, aliases }).toString('base64')
  }

  holds({ name, aliases, aliasesMac }: Sealed): boolean {
    if (aliases.length === 0) return true
    const found = Buffer.from(aliasesMac ?? '', 'base64')
    return rowMacMatches(this.#key, 'service', { name, aliases }, found)
  }
}

/** A stranger who floods the table shall not flood the log; what is remembered is some 200 bytes each. */
const reportedMax = 1_000

export class Aliases {
  readonly seal: AliasSeal
  integrityFailures = 0
  readonly #holdingsOf: (name: string) => Holdings
  readonly #log: Log
  readonly #reported = new Set<string>()
  #names: ReadonlyMap<string, unknown> = new Map()
  #owners = new Map<string, string>()

  constructor(options: {
    readonly rootKey: Key
    readonly holdingsOf: (name: string) => Holdings
    readonly log: Log
  }) {
    this.seal = new AliasSeal(options.rootKey)
    this.#holdingsOf = options.holdingsOf
    this.#log = options.log
  }

  /** The record without aliases that Haus did not set. */
  believed(record: ServiceRecord): ServiceRecord {
    if (this.seal.holds(record)) return record
    for (const alias of record.aliases) {
      this.#report(record.name, alias, 'was not set by Haus')
    }
    return { ...record, aliases: [], aliasesMac: null }
  }

  /** After a service or its aliases changed. It keeps the map, and asks it for names ever after. */
  follow(services: ReadonlyMap<string, { readonly record: ServiceRecord }>): void {
    this.#names = services
    this.#owners = new Map()
    const contested = new Set<string>()
    for (const { record } of services.values()) {
      for (const alias of record.aliases) {
        if (services.has(alias)) this.#report(record.name, alias, 'is the name of another service')
        else if (this.#owners.has(alias)) contested.add(alias)
        else this.#owners.set(alias, record.name)
      }
    }
    if (contested.size === 0) return
    for (const alias of contested) this.#owners.delete(alias)
    for (const { record } of services.values()) {
      for (const alias of record.aliases) {
        if (contested.has(alias)) this.#report(record.name, alias, 'is claimed by two services')
      }
    }
  }

  /** The service behind an alias that is followed. A name goes before every alias. */
  ownerOf(nameOrAlias: string): string | undefined {
    if (this.#names.has(nameOrAlias)) return undefined
    const owner = this.#owners.get(nameOrAlias)
    if (owner === undefined) return undefined
    const { liveKeys, grants } = this.#holdingsOf(nameOrAlias)
    if (liveKeys + grants === 0) return owner
    this.#report(owner, nameOrAlias, 'has keys or grants of its own')
    return undefined
  }

  #report(service: string, alias: string, reason: string): void {
    const key = `${service}/${alias}/${reason}`
    if (this.#reported.has(key)) return
    this.integrityFailures += 1
    if (this.#reported.size >= reportedMax) return
    this.#reported.add(key)
    this.#log.error(
      { table: 'haus.service', id: service, alias, reason },
      'an alias is not followed: if no operator set it, somebody other than Haus wrote to the database; set the aliases of the service again',
    )
  }
}
