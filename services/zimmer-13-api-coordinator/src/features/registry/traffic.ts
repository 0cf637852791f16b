/**
 * The registry as whoever carries traffic needs it: for each service who may call it and which
 * instances serve, by what is believed now and not only by what is written. Listeners hear of a
 * service whenever the view or a belief about one of its instances changes, at once.
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

export interface Traffic {
  /** The index the view stands at. */
  readonly index: number
  services(): Iterable<TrafficService>
  service(name: string): TrafficService | undefined
  /** Names of services that have changed, `loaded`: all of them, and no others exist. Must not throw. */
  onChange(listener: (names: readonly string[], loaded: boolean) => void): void
}

export interface TrafficFeed extends Traffic {
  /** A belief about an instance of that service has changed. */
  changed(service: string): void
}

export function createTraffic(sources: {
  readonly view: RegistryView
  readonly believed: (id: string) => InstanceState | undefined
}): TrafficFeed {
  const { view, believed } = sources
  const listeners: ((names: readonly string[], loaded: boolean) => void)[] = []

  view.onChange(({ services, loaded }) => {
    const names = services.map(({ record }) => record.name)
    for (const listener of listeners) listener(names, loaded)
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

  function serviceOf({ record, instances }: ServiceSnapshot): TrafficService {
    const { name, aliases, callers } = record
    return { name, aliases, callers, instances: instances.map(show) }
  }

  return {
    get index() {
      return view.index
    },
    *services() {
      for (const snapshot of view.snapshot().services.values()) yield serviceOf(snapshot)
    },
    service(name) {
      const snapshot = view.service(name)
      return snapshot && serviceOf(snapshot)
    },
    onChange: (listener) => void listeners.push(listener),
    changed(service) {
      for (const listener of listeners) listener([service], false)
    },
  }
}
