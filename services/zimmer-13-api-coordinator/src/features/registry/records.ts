/**
 * What the registry knows of a service and of an instance, in one form for rows, events and view.
 *
 * Events carry whole records, so that the view is the same whether it is folded from events or
 * loaded from the tables. Leases, load and adopted credentials are not here: they live in memory.
 */
import { instanceStates, type EventType, type InstanceState } from '@haus/contract'
import type { NewEvent } from '../../platform/ledger/ledger.ts'

export const eventType = {
  registered: 'haus.instance.registered',
  changed: 'haus.instance.changed',
  deregistered: 'haus.instance.deregistered',
  service: 'haus.service.changed',
  forgotten: 'haus.service.forgotten',
  config: 'haus.config.changed',
} as const satisfies Record<string, EventType>

export type Scheme = 'http' | 'https' | 'tcp'

export interface EndpointRecord {
  readonly path: string
  readonly methods?: readonly string[]
  readonly description?: string
}

export interface ServiceRecord {
  readonly name: string
  readonly aliases: readonly string[]
  /** In base64, that an operator set them; null without any. */
  readonly aliasesMac: string | null
  /** Who may call it through the gateway; null: every service. */
  readonly callers: readonly string[] | null
  readonly dependencies: readonly string[]
  readonly endpoints: readonly EndpointRecord[]
  /** Between two checks of each instance, while nothing is wrong with it. */
  readonly healthIntervalSeconds: number
  /** Counts every change of the record; the guard of updates. */
  readonly revision: number
  readonly createdAt: string
}

export interface InstanceRecord {
  readonly id: string
  readonly service: string
  /** Counts the starts of the instance; an older start may no longer speak for it. */
  readonly incarnation: number
  /** Counts every change of the record; the guard of updates. */
  readonly revision: number
  readonly version: string
  readonly address: string
  readonly port: number
  readonly scheme: Scheme
  readonly healthEndpoint: string | null
  /** What the evidence says; `draining` and `maintenance` are the operator's and stand beside it. */
  readonly state: InstanceState
  readonly reason: string | null
  readonly weight: number
  readonly zone: string | null
  readonly tags: readonly string[]
  readonly metadata: Readonly<Record<string, string>>
  readonly leased: boolean
  readonly draining: boolean
  readonly maintenance: boolean
  readonly registeredAt: string
  readonly stateChangedAt: string
}

export interface ConfigRecord {
  /** 0: never set. */
  readonly version: number
  readonly data: Readonly<Record<string, unknown>>
}

export const noConfig: ConfigRecord = { version: 0, data: {} }

/** The one state that every surface shows: the operator's word first, but dead is dead. */
export function shownState(
  instance: Pick<InstanceRecord, 'draining' | 'maintenance'>,
  state: InstanceState,
): InstanceState {
  if (instance.maintenance) return 'maintenance'
  if (state === 'offline') return 'offline'
  return instance.draining ? 'draining' : state
}

/** Null for `tcp`, which has no URL that a client could use. */
export function urlOf(
  instance: Pick<InstanceRecord, 'scheme' | 'address' | 'port'>,
): string | null {
  if (instance.scheme === 'tcp') return null
  const host = instance.address.includes(':') ? `[${instance.address}]` : instance.address
  return `${instance.scheme}://${host}:${instance.port}`
}

/** Two entries about one instance never share a group; those about its siblings may. */
export function instanceKey(service: string, address: string, port: number): string {
  return `instance:${service}/${address}:${port}`
}

export function instanceRegistered(instance: InstanceRecord): NewEvent {
  return instanceEvent(eventType.registered, instance)
}

export function instanceChanged(instance: InstanceRecord): NewEvent {
  return instanceEvent(eventType.changed, instance)
}

export function instanceDeregistered(instance: InstanceRecord): NewEvent {
  return instanceEvent(eventType.deregistered, instance)
}

function instanceEvent(type: string, instance: InstanceRecord): NewEvent {
  const { service } = instance
  return { type, subject: `services/${service}`, service, data: { instance } }
}

export function serviceChanged(service: ServiceRecord): NewEvent {
  const { name } = service
  return { type: eventType.service, subject: `services/${name}`, service: name, data: { service } }
}

/** Its instances are gone before, and its configuration goes with it. */
export function serviceForgotten(name: string): NewEvent {
  return { type: eventType.forgotten, subject: `services/${name}`, service: name, data: { name } }
}

export function configChanged(service: string, config: ConfigRecord): NewEvent {
  return { type: eventType.config, subject: `services/${service}`, service, data: { config } }
}

/** A record that came through the ledger; null when it is not one, which a test of the view catches. */
export function instanceOf(data: Readonly<Record<string, unknown>>): InstanceRecord | null {
  const value = data['instance']
  return isInstance(value) ? value : null
}

export function serviceOf(data: Readonly<Record<string, unknown>>): ServiceRecord | null {
  const value = data['service']
  if (!isService(value)) return null
  // A process of before there was one wrote the event: the aliases are not believed.
  return typeof value.aliasesMac === 'string' ? value : { ...value, aliasesMac: null }
}

export function configOf(data: Readonly<Record<string, unknown>>): ConfigRecord | null {
  const value = data['config']
  return isConfig(value) ? value : null
}

const states: ReadonlySet<unknown> = new Set(instanceStates)

// Written by hand: a compiled schema would check patterns too, three times the cost for values
// that were checked when they came in.
function isInstance(value: unknown): value is InstanceRecord {
  return (
    isObject(value) &&
    typeof value['id'] === 'string' &&
    typeof value['service'] === 'string' &&
    typeof value['incarnation'] === 'number' &&
    typeof value['revision'] === 'number' &&
    typeof value['version'] === 'string' &&
    typeof value['address'] === 'string' &&
    typeof value['port'] === 'number' &&
    isScheme(value['scheme']) &&
    isTextOrNull(value['healthEndpoint']) &&
    states.has(value['state']) &&
    isTextOrNull(value['reason']) &&
    typeof value['weight'] === 'number' &&
    isTextOrNull(value['zone']) &&
    Array.isArray(value['tags']) &&
    isObject(value['metadata']) &&
    typeof value['leased'] === 'boolean' &&
    typeof value['draining'] === 'boolean' &&
    typeof value['maintenance'] === 'boolean' &&
    typeof value['registeredAt'] === 'string' &&
    typeof value['stateChangedAt'] === 'string'
  )
}

function isService(value: unknown): value is ServiceRecord {
  return (
    isObject(value) &&
    typeof value['name'] === 'string' &&
    Array.isArray(value['aliases']) &&
    (value['callers'] === null || Array.isArray(value['callers'])) &&
    Array.isArray(value['dependencies']) &&
    Array.isArray(value['endpoints']) &&
    typeof value['healthIntervalSeconds'] === 'number' &&
    typeof value['revision'] === 'number' &&
    typeof value['createdAt'] === 'string'
  )
}

function isConfig(value: unknown): value is ConfigRecord {
  return isObject(value) && typeof value['version'] === 'number' && isObject(value['data'])
}

export function isInstanceState(value: string): value is InstanceState {
  return states.has(value)
}

function isScheme(value: unknown): value is Scheme {
  return value === 'http' || value === 'https' || value === 'tcp'
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isTextOrNull(value: unknown): value is string | null {
  return value === null || typeof value === 'string'
}
