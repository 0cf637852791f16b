/**
 * Keys and operator tokens in memory. Every request is decided here, never in the database.
 *
 * A row counts if its MAC is right; one that is not is left out, counted and reported once. Rows
 * that changed are read again by the ids that events name, so that what this process did and what
 * another did take one path. Ending works from the event alone, before the row is read: a database
 * that goes away at that moment must not keep a revoked key alive. It makes no decision on tokens.
 */
import type { Kysely } from 'kysely'
import { equalBytes } from '../../platform/crypto/index.ts'
import type { LedgerEvent, LoadableProjection } from '../../platform/ledger/index.ts'
import type { Log } from '../../platform/log/log.ts'
import type { Tables } from '../tables.ts'
import type { House } from './house.ts'
import {
  deriveIdentityKeys,
  isOperatorTokenOurs,
  isServiceKeyOurs,
  type IdentityKeys,
  type OperatorTokenRow,
  type ServiceKeyRow,
} from './identity-keys.ts'
import { Principal } from './principal.ts'
import { allOperatorTokens, allServiceKeys, serviceKeysById, type Stored } from './store.ts'

export interface ServiceKey {
  readonly row: ServiceKeyRow
  readonly principal: Principal
  /** Wall time of the last token made with it by this process; null since its start. */
  lastUsedAt: Date | null
}

interface OperatorToken {
  readonly row: OperatorTokenRow
  readonly principal: Principal
}

/** A key that lives for a service, or, with null, does not live any more. */
export interface KeyChange {
  readonly clientId: string
  readonly service: string | null
}

export interface IdentityView extends LoadableProjection<Tables> {
  key(clientId: string): ServiceKey | undefined
  /** Oldest first, revoked ones included. */
  keysOf(service: string): ServiceKey[]
  liveKeysOf(service: string): number
  /** Counts them, one by one. */
  liveKeysOfAll(): number
  /** Revoked ones included. */
  allKeys(): Iterable<ServiceKey>
  /** In constant time per token that exists. */
  operatorToken(hash: Buffer): OperatorToken | undefined
  /** Reads rows again that a lost guard has cast doubt on. */
  reload(clientIds: readonly string[]): Promise<void>
  liveKeys(): KeyChange[]
  /**
   * Told of every key that begins or ends to live, before the writer is answered. `loaded`: these
   * are all there are. Must not throw.
   */
  onKeys(listener: (changes: readonly KeyChange[], loaded: boolean) => void): void
  readonly size: number
  readonly operatorTokens: number
  /** Rows found with a wrong MAC since the start, each counted once. */
  readonly integrityFailures: number
  /** The house's keys, derived once. */
  readonly keys: IdentityKeys
}

export interface IdentityViewOptions {
  readonly house: House
  readonly db: Kysely<Tables>
  readonly log: Log
}

/** A stranger who floods the table shall not flood the log; every row is still counted. */
const reportedMax = 100
/** What is remembered as counted, at some 100 bytes each. */
const countedMax = 10_000

export function createIdentityView({ house, db, log }: IdentityViewOptions): IdentityView {
  const keys = deriveIdentityKeys(house.rootKey)
  let byId = new Map<string, ServiceKey>()
  let byService = new Map<string, Map<string, ServiceKey>>()
  let operators: readonly OperatorToken[] = []
  const counted = new Set<string>()
  const listeners: ((changes: readonly KeyChange[], loaded: boolean) => void)[] = []
  let loading = false
  let integrityFailures = 0

  function report(table: string, id: string, reason: string): void {
    const name = `${table}/${id}`
    if (counted.has(name)) return
    if (counted.size < countedMax) counted.add(name)
    integrityFailures += 1
    if (integrityFailures > reportedMax) return
    log.error(
      { table: `haus.${table}`, id },
      `a row of identity ${reason} and is ignored: somebody other than Haus wrote to the database`,
    )
  }

  function tell(clientId: string, service: string | null): void {
    if (loading) return
    for (const listener of listeners) listener([{ clientId, service }], false)
  }

  function end(key: ServiceKey): void {
    key.principal.end()
    tell(key.row.clientId, null)
  }

  function liveKeys(): KeyChange[] {
    const live: KeyChange[] = []
    for (const { row, principal } of byId.values()) {
      if (principal.live) live.push({ clientId: row.clientId, service: row.service })
    }
    return live
  }

  function put(stored: Stored<ServiceKeyRow>): void {
    const { row, mac } = stored
    const known = byId.get(row.clientId)
    if (!isServiceKeyOurs(keys, row, mac)) {
      report('service_key', row.clientId, 'fails its integrity check')
      remove(row.clientId)
      return
    }
    if (known && !known.principal.live && row.revokedAt === null) {
      report('service_key', row.clientId, 'was revoked and has come back')
      return
    }
    const principal = known?.principal ?? new Principal()
    const key: ServiceKey = { row, principal, lastUsedAt: known?.lastUsedAt ?? null }
    if (row.revokedAt !== null) end(key)
    else if (!known) tell(row.clientId, row.service)
    byId.set(row.clientId, key)
    const siblings = byService.get(row.service)
    if (siblings) siblings.set(row.clientId, key)
    else byService.set(row.service, new Map([[row.clientId, key]]))
  }

  function remove(clientId: string): void {
    const known = byId.get(clientId)
    if (known === undefined) return
    end(known)
    byId.delete(clientId)
    const siblings = byService.get(known.row.service)
    siblings?.delete(clientId)
    if (siblings?.size === 0) byService.delete(known.row.service)
  }

  function putOperators(stored: readonly Stored<OperatorTokenRow>[]): void {
    const known = new Map(operators.map((operator) => [operator.row.id, operator]))
    operators = stored.flatMap(({ row, mac }) => {
      if (!isOperatorTokenOurs(keys, row, mac)) {
        report('operator_token', row.id, 'fails its integrity check')
        return []
      }
      const principal = known.get(row.id)?.principal ?? new Principal()
      known.delete(row.id)
      return [{ row, principal }]
    })
    for (const gone of known.values()) gone.principal.end()
  }

  async function reload(clientIds: readonly string[]): Promise<void> {
    const gone = new Set(clientIds)
    for (const stored of await serviceKeysById(db, clientIds)) {
      gone.delete(stored.row.clientId)
      put(stored)
    }
    for (const clientId of gone) remove(clientId)
  }

  async function reloadChanged(clientIds: readonly string[], withOperators: boolean) {
    if (clientIds.length > 0) await reload(clientIds)
    if (withOperators) putOperators(await allOperatorTokens(db))
  }

  return {
    keys,

    async load(snapshot) {
      byId = new Map()
      byService = new Map()
      loading = true
      try {
        for await (const page of allServiceKeys(snapshot)) for (const stored of page) put(stored)
      } finally {
        loading = false
      }
      for (const listener of listeners) listener(liveKeys(), true)
      putOperators(await allOperatorTokens(snapshot))
    },

    apply(events) {
      const changed = new Set<string>()
      let operatorsChanged = false
      for (const event of events) {
        if (event.type === 'haus.operator.changed') {
          operatorsChanged = true
          const { tokenId } = event.data
          for (const { row, principal } of operators) if (row.id !== tokenId) principal.end()
          operators = operators.filter(({ principal }) => principal.live)
        }
        if (event.type !== 'haus.key.created' && event.type !== 'haus.key.revoked') continue
        const clientIds = clientIdsOf(event)
        for (const clientId of clientIds) changed.add(clientId)
        if (event.type === 'haus.key.revoked') {
          for (const clientId of clientIds) {
            const key = byId.get(clientId)
            if (key) end(key)
          }
        }
      }
      return changed.size === 0 && !operatorsChanged
        ? undefined
        : reloadChanged([...changed], operatorsChanged)
    },

    key: (clientId) => byId.get(clientId),

    keysOf: (service) =>
      [...(byService.get(service)?.values() ?? [])].toSorted((a, b) =>
        a.row.clientId < b.row.clientId ? -1 : 1,
      ),

    liveKeysOf(service) {
      let live = 0
      for (const key of byService.get(service)?.values() ?? []) if (key.principal.live) live += 1
      return live
    },

    liveKeysOfAll() {
      let live = 0
      for (const { principal } of byId.values()) if (principal.live) live += 1
      return live
    },

    allKeys: () => byId.values(),

    operatorToken(hash) {
      let found: OperatorToken | undefined
      for (const operator of operators) {
        if (equalBytes(operator.row.tokenHash, hash)) found = operator
      }
      return found?.principal.live ? found : undefined
    },

    reload,
    liveKeys,
    onKeys: (listener) => void listeners.push(listener),

    get size() {
      return byId.size
    },
    get operatorTokens() {
      return operators.length
    },
    get integrityFailures() {
      return integrityFailures
    },
  }
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** Events come from a table too: what is no id names no row. */
function clientIdsOf(event: LedgerEvent): string[] {
  const { clientId, forgotten } = event.data
  const named: unknown[] = [clientId, ...(Array.isArray(forgotten) ? forgotten : [])]
  return named.filter((id): id is string => typeof id === 'string' && uuid.test(id))
}
