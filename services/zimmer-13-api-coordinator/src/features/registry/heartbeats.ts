/** A heartbeat: touches memory only, and answers with what has changed since. */
import {
  heartbeatIntervalSeconds,
  HausError,
  leaseTtlSeconds,
  type BodyOf,
  type heartbeat,
  type InstanceState,
} from '@haus/contract'
import type { Monitor } from '../health/index.ts'
import type { RegistrationCredentials } from './credentials-port.ts'
import type { Lease, Leases } from './leases.ts'
import { shownState } from './records.ts'
import { instanceNotFound, serviceNotFound } from './refusals.ts'
import type { RegistryView } from './view.ts'

export type HeartbeatRequest = BodyOf<typeof heartbeat>

export interface HeartbeatAnswer {
  readonly state: InstanceState
  readonly heartbeatIntervalSeconds: number
  readonly leaseTtlSeconds: number | null
  readonly changed: {
    readonly credentials: Readonly<Record<string, number | null>>
    readonly configVersion: number | null
  }
}

interface HeartbeatDependencies {
  readonly view: RegistryView
  readonly leases: Leases
  readonly monitor: Monitor
  readonly credentials: RegistrationCredentials
}

export function createHeartbeats({ view, leases, monitor, credentials }: HeartbeatDependencies) {
  return function beat(
    nameOrAlias: string,
    id: string,
    request: HeartbeatRequest,
  ): HeartbeatAnswer {
    const service = view.service(nameOrAlias)
    if (!service) throw serviceNotFound(nameOrAlias)
    const { name } = service.record
    const instance = view.instance(id)
    const lease = leases.get(id)
    // An incarnation from the future: this process does not know of that start, so it must tell again.
    if (
      !instance ||
      !lease ||
      instance.service !== name ||
      request.incarnation > instance.incarnation
    ) {
      throw instanceNotFound(name, id)
    }
    const { incarnation } = instance
    if (request.incarnation < incarnation) {
      const detail = `is ${request.incarnation}, and start ${incarnation} of this instance has registered: stop, or register again`
      throw new HausError('stale_incarnation', `/incarnation ${detail}.`, {
        fields: [{ field: '/incarnation', detail }],
      })
    }
    if (leases.renew(lease, request.load)) monitor.leaseLives(id, true)
    if (request.status !== undefined) {
      monitor.report(id, incarnation, { kind: 'told', degraded: request.status === 'degraded' })
    }
    if (request.adopted !== undefined) lease.adopted = request.adopted
    if (request.configVersion !== undefined) lease.configVersion = request.configVersion
    const state = monitor.belief(id)?.state ?? instance.state
    if (state !== 'healthy' && state !== 'degraded') monitor.lookSoon(id)
    return {
      state: shownState(instance, state),
      heartbeatIntervalSeconds,
      leaseTtlSeconds: instance.leased ? leaseTtlSeconds : null,
      changed: {
        credentials: changedCredentials(lease, credentials.versionsOf(name)),
        configVersion: changedConfig(lease, view.config(name).version),
      },
    }
  }
}

/** Current versions that differ from those in use; null: no longer granted. */
function changedCredentials(
  { adopted, needed }: Lease,
  current: Readonly<Record<string, number>>,
): Record<string, number | null> {
  const changed: Record<string, number | null> = {}
  if (adopted === null) return changed
  for (const [name, version] of Object.entries(current)) {
    if (needed && !needed.has(name)) continue
    if (!Object.hasOwn(adopted, name) || adopted[name] !== version) changed[name] = version
  }
  for (const name of Object.keys(adopted)) if (!Object.hasOwn(current, name)) changed[name] = null
  return changed
}

function changedConfig({ configVersion }: Lease, current: number): number | null {
  return configVersion === null || configVersion === current ? null : current
}
