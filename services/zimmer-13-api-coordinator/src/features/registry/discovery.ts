/**
 * Where a service is. Answers come from memory only, encoded once per change of a service and
 * not once per question: the balancer's pick is the head of the answer, everything after it is
 * shared by all answers until the next change.
 *
 * It never waits and never asks the database: discovery is the promise that outlives both.
 */
import type { InstanceState } from '@haus/contract'
import { createBalancer, serving, type Balancer, type Vital } from './balancer.ts'
import { shownState, urlOf, type InstanceRecord } from './records.ts'
import { serviceNotFound } from './refusals.ts'
import { serviceHealth } from './service-health.ts'
import type { RegistryView, ServiceSnapshot } from './view.ts'

export interface DiscoveryQuery {
  readonly service: string
  readonly tag?: string | undefined
  readonly zone?: string | undefined
  readonly version?: string | undefined
}

export interface Discovery {
  /** The answer as JSON. @throws HausError service_not_found */
  answer(query: DiscoveryQuery): Buffer | string
  /** What is believed of an instance of this service has changed, and the view has not. */
  forget(service: string): void
}

interface DiscoverySources {
  readonly view: RegistryView
  /** What is believed now, when that is newer than the view. */
  readonly believed: (id: string) => InstanceState | undefined
  readonly vital: (id: string) => Vital
  readonly unit: () => number
}

/** Filters in use at one time for one service; more is somebody who tries every value. */
const filtersMax = 32
/** Whole answers are kept ready up to this size per selection; beyond it the parts are joined per call. */
const readyMaxBytes = 1024 * 1024

/** An answer up to this size is kept as text: Node joins it with its head into one write. */
const textMaxBytes = 16 * 1024

interface Selection {
  readonly balancer: Balancer
  readonly heads: readonly Buffer[]
  readonly tail: Buffer
  /** By candidate; null when all of them together would be too much to keep. */
  readonly ready: (Buffer | string | undefined)[] | null
  readonly nobody: Buffer
}

interface Known {
  readonly snapshot: ServiceSnapshot
  readonly all: Selection
  readonly filtered: Map<string, Selection>
}

interface Shown {
  readonly record: InstanceRecord
  readonly state: InstanceState
  readonly weight: number
  readonly vital: Vital
}

export function createDiscovery(sources: DiscoverySources): Discovery {
  const { view, unit } = sources
  const known = new Map<string, Known>()
  const encoded = new WeakMap<InstanceRecord, { state: InstanceState; json: string }>()

  function show(record: InstanceRecord): Shown {
    const state = shownState(record, sources.believed(record.id) ?? record.state)
    return { record, state, weight: record.weight, vital: sources.vital(record.id) }
  }

  /** Kept per instance, so that one change among thousands does not encode them all again. */
  function encode({ record, state }: Shown): string {
    const kept = encoded.get(record)
    if (kept?.state === state) return kept.json
    const json = JSON.stringify({
      id: record.id,
      address: record.address,
      port: record.port,
      scheme: record.scheme,
      url: urlOf(record),
      health: state,
      weight: record.weight,
      version: record.version,
      zone: record.zone,
      tags: record.tags,
      metadata: record.metadata,
    })
    encoded.set(record, { state, json })
    return json
  }

  function select(
    snapshot: ServiceSnapshot,
    shown: readonly Shown[],
    matches: (record: InstanceRecord) => boolean,
  ): Selection {
    const candidates = serving(shown.filter(({ record }) => matches(record)))
    const { name, endpoints } = snapshot.record
    const health = serviceHealth(shown.map(({ state }) => state))
    const tail = Buffer.from(
      `"health":${JSON.stringify(health)},"loadBalancing":{"strategy":"power-of-two-choices","candidates":${candidates.length}},` +
        `"endpoints":${JSON.stringify(endpoints)},"instances":[${candidates.map(encode).join(',')}],"index":${snapshot.index}}`,
    )
    const service = `{"service":${JSON.stringify(name)},`
    const heads = candidates.map(({ record }) =>
      Buffer.from(
        `${service}"address":${JSON.stringify(record.address)},"port":${record.port},"url":${JSON.stringify(urlOf(record))},`,
      ),
    )
    const nobody = Buffer.from(`${service}"address":null,"port":null,"url":null,`)
    return {
      balancer: createBalancer(candidates),
      heads,
      tail,
      ready: (tail.length + 256) * heads.length <= readyMaxBytes ? [] : null,
      nobody: heads.length === 0 ? Buffer.concat([nobody, tail]) : nobody,
    }
  }

  function knownOf(snapshot: ServiceSnapshot): Known {
    const { name } = snapshot.record
    const kept = known.get(name)
    if (kept?.snapshot === snapshot) return kept
    const made: Known = {
      snapshot,
      all: select(snapshot, snapshot.instances.map(show), () => true),
      filtered: new Map(),
    }
    known.set(name, made)
    return made
  }

  function filteredOf(of: Known, { tag, zone, version }: DiscoveryQuery): Selection {
    const key = JSON.stringify([tag, zone, version])
    const kept = of.filtered.get(key)
    if (kept) return kept
    const made = select(
      of.snapshot,
      of.snapshot.instances.map(show),
      (record) =>
        (tag === undefined || record.tags.includes(tag)) &&
        (zone === undefined || record.zone === zone) &&
        (version === undefined || record.version === version),
    )
    if (of.filtered.size >= filtersMax) {
      const [oldest] = of.filtered.keys()
      if (oldest !== undefined) of.filtered.delete(oldest)
    }
    of.filtered.set(key, made)
    return made
  }

  return {
    answer(query) {
      const snapshot = view.service(query.service)
      if (!snapshot) throw serviceNotFound(query.service, 'query.service')
      const of = knownOf(snapshot)
      const plain =
        query.tag === undefined && query.zone === undefined && query.version === undefined
      const { balancer, heads, tail, ready, nobody } = plain ? of.all : filteredOf(of, query)
      const pick = balancer.pick(unit)
      const head = heads[pick]
      if (!head) return nobody
      if (!ready) return Buffer.concat([head, tail])
      return (ready[pick] ??= readyOf(Buffer.concat([head, tail])))
    },
    forget(service) {
      known.delete(service)
    },
  }
}

function readyOf(answer: Buffer): Buffer | string {
  return answer.length <= textMaxBytes ? answer.toString() : answer
}
