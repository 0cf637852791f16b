/**
 * The registry as whoever carries traffic needs it: for each service who may call it and which
 * instances serve, by what is believed now and not only by what is written. Listeners hear of a
 * service whenever the view or a belief about one of its instances changes, at once, and of which
 * instances: a service of thousands that gains one is not told whole each time.
 */
import type { InstanceState } from '@haus/contract'
import { tierOf } from './balancer.ts'
import { shownState, type InstanceRecord, type Scheme } from './records.ts'
import type { RegistryView, ServiceSnapshot } from './view.ts'

export interface TrafficInstance {
  readonly id: string
  readonly incarnation: number
  readonly address: string
  readonly port: number
  readonly scheme: Scheme
  readonly zone: string | null
  /** The one state that every surface shows. */
  readonly state: InstanceState
  /** 0 serves first; the others only while nobody of a better tier is there; null: never. */
  readonly tier: number | null
  readonly weight: number
}

export interface TrafficService {
  readonly name: string
  readonly aliases: readonly string[]
  /** Null: every service may call it. */
  readonly callers: readonly string[] | null
  readonly instances: readonly TrafficInstance[]
}

/** A service after a change, and those of its instances that the change was about. */
export interface TrafficUpdate extends TrafficService {
  /** Ids of those that are no more. */
  readonly gone: readonly string[]
  /** The service itself is no more. */
  readonly forgotten: boolean
}

/** Ids of the instances that have changed, by the name of their service. */
export type TrafficChanges = ReadonlyMap<string, readonly string[]>

export interface Traffic {
  /** The index the view stands at. */
  readonly index: number
  services(): Iterable<TrafficService>
  /** That service as it is now, with these of its instances. */
  update(name: string, ids: Iterable<string>): TrafficUpdate
  /** `loaded`: every service may have changed, and no others exist. Must not throw. */
  onChange(listener: (changes: TrafficChanges, loaded: boolean) => void): void
}

export interface TrafficFeed extends Traffic {
  /** The belief about an instance of that service has changed. */
  changed(service: string, id: string): void
}

export function createTraffic(sources: {
  readonly view: RegistryView
  readonly believed: (id: string) => InstanceState | undefined
}): TrafficFeed {
  const { view, believed } = sources
  const listeners: ((changes: TrafficChanges, loaded: boolean) => void)[] = []

  view.onChange(({ services, instances, forgotten, loaded }) => {
    const changes = new Map<string, string[]>(forgotten.map((name) => [name, []]))
    for (const { record } of services) changes.set(record.name, [])
    for (const { before, after } of instances) {
      const changed = after ?? before
      if (changed) changes.get(changed.service)?.push(changed.id)
    }
    for (const listener of listeners) listener(changes, loaded)
  })

  function show(record: InstanceRecord): TrafficInstance {
    const { id, incarnation, address, port, scheme, zone, weight } = record
    const state = shownState(record, believed(id) ?? record.state)
    return {
      id,
      incarnation,
      address,
      port,
      scheme,
      zone,
      state,
      tier: weight > 0 ? tierOf(state) : null,
      weight,
    }
  }

  function serviceOf(
    { record }: ServiceSnapshot,
    instances: readonly InstanceRecord[],
  ): TrafficService {
    const { name, callers } = record
    const aliases = view.aliasesOf(name)
    return { name, aliases, callers, instances: instances.map(show) }
  }

  return {
    get index() {
      return view.index
    },
    *services() {
      for (const snapshot of view.snapshot().services.values()) {
        yield serviceOf(snapshot, snapshot.instances)
      }
    },
    update(name, ids) {
      const snapshot = view.service(name)
      if (!snapshot) {
        const nothing = { aliases: [], callers: null, instances: [] }
        return { name, ...nothing, gone: [...ids], forgotten: true }
      }
      const there: InstanceRecord[] = []
      const gone: string[] = []
      for (const id of ids) {
        const record = view.instance(id)
        if (record) there.push(record)
        else gone.push(id)
      }
      return { ...serviceOf(snapshot, there), gone, forgotten: false }
    },
    onChange: (listener) => void listeners.push(listener),
    changed(service, id) {
      for (const listener of listeners) listener(new Map([[service, [id]]]), false)
    },
  }
}
