/**
 * The whole registry in memory: what discovery, health and authorisation read instead of the
 * database.
 *
 * A service is an immutable object that is replaced, once per batch of events, when anything in it
 * changes: whoever holds one holds a consistent picture, and 512 registrations of one service cost
 * one copy. The view is the fold of the ledger and nothing else; what is believed but not yet
 * written (fresh evidence of health) lives beside it.
 */
import { healthIntervalSecondsDefault } from '@haus/contract'
import type { Kysely } from 'kysely'
import type { Key } from '../../platform/crypto/index.ts'
import type { LedgerEvent, Projection } from '../../platform/ledger/ledger.ts'
import type { Log } from '../../platform/log/log.ts'
import type { Tables } from '../tables.ts'
import { Aliases, type Holdings } from './aliases.ts'
import { findCycles } from './dependency-cycles.ts'
import {
  configOf,
  eventType,
  instanceKey,
  instanceOf,
  noConfig,
  serviceOf,
  type ConfigRecord,
  type InstanceRecord,
  type ServiceRecord,
} from './records.ts'
import { loadRegistry } from './store.ts'

export interface ServiceSnapshot {
  readonly record: ServiceRecord
  /** By id, which for UUIDv7 is the order of first registration. */
  readonly instances: readonly InstanceRecord[]
  /** The ledger index of its last change, or of one of its instances. Never goes back. */
  readonly index: number
}

/** An instance came (`before` null), changed, or went (`after` null). */
interface InstanceChange {
  readonly before: InstanceRecord | null
  readonly after: InstanceRecord | null
}

export interface ViewChange {
  readonly services: readonly ServiceSnapshot[]
  readonly instances: readonly InstanceChange[]
  /** Names of services that are no more, and of configurations that had none. */
  readonly forgotten: readonly string[]
  /** The view was loaded anew: everything is in `services` and `instances`, and nothing else is. */
  readonly loaded: boolean
}

export interface HouseSnapshot {
  /** Grows with every change of the view; says nothing about the ledger. */
  readonly version: number
  readonly index: number
  readonly services: ReadonlyMap<string, ServiceSnapshot>
}

export interface RegistryView extends Projection {
  load(db: Kysely<Tables>): Promise<void>
  apply(events: readonly LedgerEvent[]): void
  /** The service of that name or alias. */
  service(nameOrAlias: string): ServiceSnapshot | undefined
  /** The name behind an alias; any other name as it is. A name goes before an alias. */
  canonicalService(nameOrAlias: string): string
  /** Those of the service that are followed. */
  aliasesOf(service: string): readonly string[]
  /** What a record with these aliases carries, so that it is believed. */
  sealAliases(service: string, aliases: readonly string[]): string | null
  /** Aliases that are not followed, each counted once; more than 0 means somebody writes to the database. */
  readonly integrityFailures: number
  instance(id: string): InstanceRecord | undefined
  instanceAt(service: string, address: string, port: number): InstanceRecord | undefined
  config(service: string): ConfigRecord
  readonly configs: number
  /** Of configurations, also of services that have not registered. */
  configNames(): Iterable<string>
  /** Names in order, without aliases. */
  names(): readonly string[]
  /** What a service may see: itself and what it depends on. */
  seenBy(service: string): ReadonlySet<string>
  /** Names behind the aliases, also of services that have not registered yet. */
  dependencies(service: string): readonly string[]
  dependents(service: string): readonly string[]
  /** Dependency cycles through the service, each starting with it. */
  cycles(service: string): readonly (readonly string[])[]
  snapshot(): HouseSnapshot
  readonly index: number
  readonly counts: { readonly services: number; readonly instances: number }
  /** Called after each batch, synchronously, before the writer is answered. Must not throw. */
  onChange(listener: (change: ViewChange) => void): () => void
}

export interface RegistryViewOptions {
  readonly rootKey: Key
  /** Keys and grants of a name; asked once the other views are loaded, and at every question. */
  readonly holdingsOf: (name: string) => Holdings
  readonly log: Log
}

export function createRegistryView(options: RegistryViewOptions): RegistryView {
  return new MemoryView(options)
}

interface Draft {
  record: ServiceRecord
  instances: InstanceRecord[]
  index: number
}

class MemoryView implements RegistryView {
  index = 0
  #version = 0
  #services = new Map<string, ServiceSnapshot>()
  readonly #aliases: Aliases
  #instances = new Map<string, InstanceRecord>()
  #places = new Map<string, InstanceRecord>()
  #configs = new Map<string, ConfigRecord>()
  readonly #listeners = new Set<(change: ViewChange) => void>()
  #house: HouseSnapshot | null = null
  #names: readonly string[] | null = null
  #graph = new Graph()

  constructor(options: RegistryViewOptions) {
    this.#aliases = new Aliases(options)
  }

  async load(db: Kysely<Tables>): Promise<void> {
    const loaded = await loadRegistry(db)
    const drafts = new Map<string, Draft>()
    for (const { record, index } of loaded.services) {
      drafts.set(record.name, { record: this.#aliases.believed(record), instances: [], index })
    }
    this.#services = new Map()
    this.#instances = new Map()
    this.#places = new Map()
    this.#configs = new Map(loaded.configs.map(({ service, config }) => [service, config]))
    const changes: InstanceChange[] = []
    for (const { record, index } of loaded.instances) {
      const draft = this.#draft(drafts, record.service, record.registeredAt)
      draft.index = Math.max(draft.index, index)
      insertById(draft.instances, record)
      this.#remember(record)
      changes.push({ before: null, after: record })
    }
    this.index = loaded.index
    this.#publish(drafts, changes, [], { loaded: true, namesChanged: true })
  }

  apply(events: readonly LedgerEvent[]): void {
    const drafts = new Map<string, Draft>()
    const changes: InstanceChange[] = []
    const forgotten: string[] = []
    let namesChanged = false
    for (const event of events) {
      this.index = event.index
      switch (event.type) {
        case eventType.registered:
        case eventType.changed: {
          const record = instanceOf(event.data)
          if (!record) break
          const draft = this.#draft(drafts, record.service, event.time)
          const before = this.#instances.get(record.id) ?? null
          if (before) replaceById(draft.instances, record)
          else insertById(draft.instances, record)
          draft.index = event.index
          this.#remember(record)
          changes.push({ before, after: record })
          break
        }
        case eventType.deregistered: {
          const gone = instanceOf(event.data)
          if (!gone) break
          // Removal is idempotent, also once the service is forgotten: it brings none back.
          if (!drafts.has(gone.service) && !this.#services.has(gone.service)) break
          const draft = this.#draft(drafts, gone.service, event.time)
          const before = this.#instances.get(gone.id)
          draft.index = event.index
          if (!before) break
          removeById(draft.instances, gone.id)
          this.#forget(before)
          changes.push({ before, after: null })
          break
        }
        case eventType.service: {
          const record = serviceOf(event.data)
          if (!record) break
          const draft = this.#draft(drafts, record.name, event.time)
          draft.record = this.#aliases.believed(record)
          draft.index = event.index
          namesChanged = true
          break
        }
        case eventType.forgotten: {
          const { name } = event.data
          if (typeof name !== 'string') break
          drafts.delete(name)
          this.#services.delete(name)
          this.#configs.delete(name)
          forgotten.push(name)
          namesChanged = true
          break
        }
        case eventType.config: {
          const config = configOf(event.data)
          if (config && event.service !== null) this.#configs.set(event.service, config)
          break
        }
        default:
          break
      }
    }
    this.#publish(drafts, changes, forgotten, { loaded: false, namesChanged })
  }

  service(nameOrAlias: string): ServiceSnapshot | undefined {
    const found = this.#services.get(nameOrAlias)
    if (found) return found
    const name = this.#aliases.ownerOf(nameOrAlias)
    return name === undefined ? undefined : this.#services.get(name)
  }

  canonicalService(nameOrAlias: string): string {
    return this.#aliases.ownerOf(nameOrAlias) ?? nameOrAlias
  }

  aliasesOf(service: string): readonly string[] {
    const aliases = this.#services.get(service)?.record.aliases ?? []
    return aliases.filter((alias) => this.#aliases.ownerOf(alias) === service)
  }

  sealAliases(service: string, aliases: readonly string[]): string | null {
    return this.#aliases.seal.macOf(service, aliases)
  }

  get integrityFailures(): number {
    return this.#aliases.integrityFailures
  }

  instance(id: string): InstanceRecord | undefined {
    return this.#instances.get(id)
  }

  instanceAt(service: string, address: string, port: number): InstanceRecord | undefined {
    return this.#places.get(instanceKey(service, address, port))
  }

  config(service: string): ConfigRecord {
    return this.#configs.get(service) ?? noConfig
  }

  get configs(): number {
    return this.#configs.size
  }

  configNames(): Iterable<string> {
    return this.#configs.keys()
  }

  names(): readonly string[] {
    this.#names ??= [...this.#services.keys()].toSorted()
    return this.#names
  }

  seenBy(service: string): ReadonlySet<string> {
    return this.#graph.seenBy(this, service)
  }

  dependencies(service: string): readonly string[] {
    return this.#graph.dependencies(this, service)
  }

  dependents(service: string): readonly string[] {
    return this.#graph.dependents(this, service)
  }

  cycles(service: string): readonly (readonly string[])[] {
    return this.#graph.cycles(this, service)
  }

  snapshot(): HouseSnapshot {
    this.#house ??= {
      version: this.#version,
      index: this.index,
      services: new Map(this.#services),
    }
    return this.#house
  }

  get counts(): { services: number; instances: number } {
    return { services: this.#services.size, instances: this.#instances.size }
  }

  onChange(listener: (change: ViewChange) => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  #draft(drafts: Map<string, Draft>, name: string, time: string): Draft {
    let draft = drafts.get(name)
    if (!draft) {
      const current = this.#services.get(name)
      draft = current
        ? { record: current.record, instances: current.instances.slice(), index: current.index }
        : { record: bareService(name, time), instances: [], index: 0 }
      drafts.set(name, draft)
    }
    return draft
  }

  #remember(record: InstanceRecord): void {
    this.#instances.set(record.id, record)
    this.#places.set(instanceKey(record.service, record.address, record.port), record)
  }

  #forget(record: InstanceRecord): void {
    this.#instances.delete(record.id)
    const place = instanceKey(record.service, record.address, record.port)
    if (this.#places.get(place)?.id === record.id) this.#places.delete(place)
  }

  #publish(
    drafts: ReadonlyMap<string, Draft>,
    changes: readonly InstanceChange[],
    gone: readonly string[],
    { loaded, namesChanged }: { loaded: boolean; namesChanged: boolean },
  ): void {
    this.#version += 1
    this.#house = null
    const services: ServiceSnapshot[] = []
    for (const [name, { record, instances, index }] of drafts) {
      if (!this.#services.has(name)) this.#names = null
      const snapshot: ServiceSnapshot = { record, instances, index }
      this.#services.set(name, snapshot)
      services.push(snapshot)
    }
    // It may have registered again in the same batch.
    const forgotten = gone.filter((name) => !this.#services.has(name))
    if (loaded || forgotten.length > 0) this.#names = null
    if (namesChanged) {
      this.#graph = new Graph()
      this.#aliases.follow(this.#services)
    }
    if (services.length + forgotten.length === 0 && !loaded) return
    const change = { services, instances: changes, forgotten, loaded }
    for (const listener of this.#listeners) listener(change)
  }
}

/**
 * The row of a service comes before its instances; this keeps a fold total. Of revision 0: the next
 * registration writes the row.
 */
function bareService(name: string, createdAt: string): ServiceRecord {
  return {
    name,
    aliases: [],
    aliasesMac: null,
    callers: null,
    dependencies: [],
    endpoints: [],
    healthIntervalSeconds: healthIntervalSecondsDefault,
    revision: 0,
    createdAt,
  }
}

function placeOf(instances: readonly InstanceRecord[], id: string): number {
  let low = 0
  let high = instances.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const candidate = instances[middle]
    if (candidate && candidate.id < id) low = middle + 1
    else high = middle
  }
  return low
}

function insertById(instances: InstanceRecord[], record: InstanceRecord): void {
  const last = instances.at(-1)
  if (!last || last.id < record.id) instances.push(record)
  else instances.splice(placeOf(instances, record.id), 0, record)
}

function replaceById(instances: InstanceRecord[], record: InstanceRecord): void {
  instances[placeOf(instances, record.id)] = record
}

function removeById(instances: InstanceRecord[], id: string): void {
  instances.splice(placeOf(instances, id), 1)
}

/** Answers about dependencies, computed when first asked for and dropped when any service changes. */
class Graph {
  readonly #seen = new Map<string, ReadonlySet<string>>()
  readonly #dependencies = new Map<string, readonly string[]>()
  readonly #cycles = new Map<string, readonly (readonly string[])[]>()
  #dependents: Map<string, string[]> | null = null

  seenBy(view: RegistryView, service: string): ReadonlySet<string> {
    const name = view.canonicalService(service)
    const known = this.#seen.get(name)
    if (known) return known
    const seen = new Set([name, ...this.dependencies(view, name)])
    // Names of strangers are not kept: a caller could make up any number of them.
    if (view.service(name)) this.#seen.set(name, seen)
    return seen
  }

  dependencies(view: RegistryView, service: string): readonly string[] {
    const known = view.service(service)
    if (!known) return []
    const { name, dependencies } = known.record
    let named = this.#dependencies.get(name)
    if (!named) {
      named = [...new Set(dependencies.map((other) => view.canonicalService(other)))]
      this.#dependencies.set(name, named)
    }
    return named
  }

  dependents(view: RegistryView, service: string): readonly string[] {
    if (!this.#dependents) {
      this.#dependents = new Map()
      for (const name of view.names()) {
        for (const dependency of this.dependencies(view, name)) {
          const known = this.#dependents.get(dependency)
          if (known) known.push(name)
          else this.#dependents.set(dependency, [name])
        }
      }
    }
    return this.#dependents.get(view.canonicalService(service)) ?? []
  }

  cycles(view: RegistryView, service: string): readonly (readonly string[])[] {
    const name = view.canonicalService(service)
    let cycles = this.#cycles.get(name)
    if (!cycles) {
      cycles = findCycles(name, (of) => this.dependencies(view, of))
      if (view.service(name)) this.#cycles.set(name, cycles)
    }
    return cycles
  }
}
