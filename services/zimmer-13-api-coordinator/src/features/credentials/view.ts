/**
 * Metadata, grants and version pointers of all live credentials, in memory and verified: what
 * reads, lists and heartbeats are answered from. It holds no values.
 *
 * It follows the ledger by reloading, by id, the rows that events name: one way for this
 * process's own changes and for those of others, and nothing is believed that has no valid MAC.
 * A row that fails is kept as a fault, so that the read that meets it is refused with a reason
 * instead of quietly getting less.
 */
import { credentialsMax } from '@haus/contract'
import type { Kysely } from 'kysely'
import { deriveKey, type Key } from '../../platform/crypto/index.ts'
import type { LedgerEvent, Projection } from '../../platform/ledger/ledger.ts'
import type { Log } from '../../platform/log/log.ts'
import type { Tables } from '../tables.ts'
import type { CredentialRecord } from './credential.ts'
import { IntegrityReports, type Fault, type NamedFault } from './integrity.ts'
import { makeOffer, type Offer } from './offer.ts'
import { RowAuthentication } from './row-authentication.ts'
import { beforeAllIds, loadByIds, loadPage, type StoredCredential } from './store.ts'

/** The embedded database answers one query at a time: a page of 500 keeps a flush waiting for some 10 ms. */
const pageSize = 500

/** Twice the services that a house may have; an empty offer is some 500 bytes. */
const offersMax = 4_000

interface CredentialViewOptions {
  /** For reloads; `load` is given the handle of its snapshot. */
  readonly db: Kysely<Tables>
  readonly rootKey: Key
  readonly houseId: string
  readonly log: Log
  /** Deleted rows whose revision is remembered; as many as the table keeps by default. */
  readonly deletedMax?: number
}

/** A credential whose row cannot be trusted. */
export interface Untrusted extends NamedFault {
  /** Of the row as it was found. */
  readonly mac: Buffer
}

interface Holding {
  /** Null: the credential is not live, or cannot be trusted. */
  readonly record: CredentialRecord | null
  readonly untrusted: Untrusted | null
  /** By service: grants that failed on a credential that did not. */
  readonly badGrants: ReadonlyMap<string, NamedFault>
  /** Services whose answers depend on this credential. */
  readonly concerned: readonly string[]
}

export class CredentialView implements Projection {
  readonly integrity: IntegrityReports
  readonly rows: RowAuthentication
  readonly #db: Kysely<Tables>
  readonly #etagKey: Key
  readonly #holdings = new Map<string, Holding>()
  readonly #idByName = new Map<string, string>()
  readonly #idsByService = new Map<string, Set<string>>()
  /** The highest revision seen of each row, deleted ones too: a row never goes back. */
  readonly #revisions = new Map<string, number>()
  readonly #deletedMax: number
  /** Last deleted last. The table forgets the oldest without a word, so this does as well. */
  readonly #deleted = new Set<string>()
  readonly #offers = new Map<string, Offer>()
  readonly #listeners: ((service: string) => void)[] = []
  #names: string[] | null = null
  #loading: Promise<void> = Promise.resolve()

  constructor(options: CredentialViewOptions) {
    const { db, rootKey, houseId, log, deletedMax = credentialsMax } = options
    this.#db = db
    this.#deletedMax = deletedMax
    this.integrity = new IntegrityReports(log)
    this.rows = new RowAuthentication(rootKey, houseId)
    this.#etagKey = deriveKey(rootKey, 'haus/credentials/etag/v1', Buffer.from(houseId))
  }

  /** Live and trusted ones. */
  get size(): number {
    return this.#idByName.size
  }

  /** Rows whose revision is remembered, live and deleted. */
  get rowsRemembered(): number {
    return this.#revisions.size
  }

  load(db: Kysely<Tables>): Promise<void> {
    return this.#inTurn(async () => {
      const known = new Set(this.#revisions.keys())
      for (let afterId = beforeAllIds; ;) {
        const page = await loadPage(db, afterId, pageSize)
        for (const stored of page) {
          known.delete(stored.columns.id)
          this.#hold(stored.columns.id, stored)
        }
        const last = page.at(-1)
        if (page.length < pageSize || !last) break
        afterId = last.columns.id
      }
      for (const id of known) this.#hold(id, undefined)
    })
  }

  apply(events: readonly LedgerEvent[]): Promise<void> | void {
    const ids = new Set<string>()
    for (const event of events) {
      const { id } = event.data
      if (event.type.startsWith('haus.credential.') && typeof id === 'string') ids.add(id)
    }
    if (ids.size > 0) return this.reload([...ids])
  }

  /** Loads run one after the other: an older state cannot overtake a newer one. */
  reload(ids: readonly string[]): Promise<void> {
    return this.#inTurn(async () => {
      const stored = new Map<string, StoredCredential>()
      for (const each of await loadByIds(this.#db, ids)) stored.set(each.columns.id, each)
      for (const id of ids) this.#hold(id, stored.get(id))
    })
  }

  /** Told of each service whose offer is no longer what it was, before the change is acknowledged. */
  onChange(listener: (service: string) => void): void {
    this.#listeners.push(listener)
  }

  get(id: string): CredentialRecord | undefined {
    return this.#holdings.get(id)?.record ?? undefined
  }

  untrusted(id: string): Untrusted | undefined {
    return this.#holdings.get(id)?.untrusted ?? undefined
  }

  byName(name: string): CredentialRecord | undefined {
    const id = this.#idByName.get(name)
    return id === undefined ? undefined : this.get(id)
  }

  /** Sorted; made again only after one was created or deleted. */
  names(): readonly string[] {
    return (this.#names ??= [...this.#idByName.keys()].toSorted(compareText))
  }

  /** Sorted; of the credentials granted to the service, expired ones too. */
  namesOf(service: string): readonly string[] {
    const names: string[] = []
    for (const id of this.#idsByService.get(service) ?? []) {
      const record = this.get(id)
      if (record?.services.includes(service)) names.push(record.name)
    }
    return names.toSorted(compareText)
  }

  /** How many credentials name the service in their grants. */
  grantedCount(service: string): number {
    return this.#idsByService.get(service)?.size ?? 0
  }

  offerTo(service: string, nowMs: number): Offer {
    const known = this.#offers.get(service)
    if (known && known.fromMs <= nowMs && nowMs < known.untilMs) return known
    const offer = this.#makeOffer(service, this.#idsByService.get(service) ?? [], nowMs)
    // Any name can be asked for; a service without credentials has one as well: making it anew
    // was 9 % of a registration.
    if (this.#offers.size >= offersMax) {
      for (const oldest of this.#offers.keys()) {
        this.#offers.delete(oldest)
        break
      }
    }
    this.#offers.set(service, offer)
    return offer
  }

  #makeOffer(service: string, ids: Iterable<string>, nowMs: number): Offer {
    const granted: CredentialRecord[] = []
    const faults: NamedFault[] = []
    for (const id of ids) {
      const holding = this.#holdings.get(id)
      const fault = holding?.untrusted ?? holding?.badGrants.get(service)
      if (fault) faults.push(fault)
      else if (holding?.record) granted.push(holding.record)
    }
    granted.sort((a, b) => compareText(a.name, b.name))
    return makeOffer(service, granted, faults, nowMs, this.#etagKey)
  }

  #hold(id: string, stored: StoredCredential | undefined): void {
    const before = this.#holdings.get(id)
    const after = stored && this.#verify(stored, before)
    if (!stored) this.#forget(id)
    else if (after === notLive) this.#rememberDeleted(id)
    if (before?.record) {
      this.#idByName.delete(before.record.name)
      this.#names = null
    }
    for (const service of before?.concerned ?? []) this.#withdraw(service, id)
    if (after && (after.record || after.untrusted)) {
      this.#holdings.set(id, after)
      if (after.record) {
        this.#idByName.set(after.record.name, id)
        this.#names = null
      }
      for (const service of after.concerned) {
        const ids = this.#idsByService.get(service)
        if (ids) ids.add(id)
        else this.#idsByService.set(service, new Set([id]))
      }
    } else this.#holdings.delete(id)
    for (const service of new Set([...(before?.concerned ?? []), ...(after?.concerned ?? [])])) {
      this.#offers.delete(service)
      for (const listener of this.#listeners) listener(service)
    }
  }

  #rememberDeleted(id: string): void {
    this.#deleted.delete(id)
    this.#deleted.add(id)
    if (this.#deleted.size <= this.#deletedMax) return
    for (const oldest of this.#deleted) return this.#forget(oldest)
  }

  #forget(id: string): void {
    this.#deleted.delete(id)
    this.#revisions.delete(id)
  }

  #withdraw(service: string, id: string): void {
    const ids = this.#idsByService.get(service)
    ids?.delete(id)
    if (ids?.size === 0) this.#idsByService.delete(service)
  }

  #verify(stored: StoredCredential, before: Holding | undefined): Holding {
    const { columns, grants, mac } = stored
    const { id, name } = columns
    const reason = this.#faultOf(stored)
    if (reason !== null) {
      const fault: Fault = { table: 'credential', rowId: id, reason }
      this.integrity.report(fault)
      const concerned = new Set([
        ...(before?.concerned ?? []),
        ...grants.map(({ service }) => service),
      ])
      return {
        record: null,
        untrusted: { credentialId: id, name, fault, mac },
        badGrants: new Map(),
        concerned: [...concerned],
      }
    }
    this.integrity.mended('credential', id)
    this.#revisions.set(id, columns.revision)
    if (columns.deletedAt !== null) return notLive
    const services: string[] = []
    const badGrants = new Map<string, NamedFault>()
    for (const grant of grants) {
      const { service } = grant
      const rowId = `${id}/${service}`
      const { grantsRevision } = columns
      if (this.rows.isGrant({ credentialId: id, service, grantsRevision }, grant.mac)) {
        services.push(service)
        this.integrity.mended('credential_grant', rowId)
        continue
      }
      const fault: Fault = {
        table: 'credential_grant',
        rowId,
        reason: `the grant to service "${service}" was not made by Haus, or was taken back`,
      }
      this.integrity.report(fault)
      badGrants.set(service, { credentialId: id, name, fault })
    }
    services.sort(compareText)
    return {
      record: { ...columns, services },
      untrusted: null,
      badGrants,
      concerned: [...services, ...badGrants.keys()],
    }
  }

  /** Why the row of a credential cannot be trusted; null: it can. */
  #faultOf(stored: StoredCredential): string | null {
    const { columns, mac, newestVersion } = stored
    if (!this.rows.isCredential(columns, mac)) return 'its row was not written by Haus'
    if (newestVersion !== columns.version) {
      return newestVersion !== null && newestVersion > columns.version
        ? `its row names version ${columns.version} as current, and version ${newestVersion} is stored`
        : `the row of its current version ${columns.version} is missing`
    }
    const seen = this.#revisions.get(columns.id) ?? 0
    if (columns.revision < seen) {
      return `its row is of revision ${columns.revision}, and revision ${seen} was seen`
    }
    return null
  }

  #inTurn(task: () => Promise<void>): Promise<void> {
    const turn = this.#loading.then(task)
    this.#loading = turn.catch(() => {})
    return turn
  }
}

const notLive: Holding = {
  record: null,
  untrusted: null,
  badGrants: new Map(),
  concerned: [],
}

/** By code point, as the database's own order of names and keyset cursors would be under collation C. */
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
