/** Services as they are shown, and what an operator sets of them. A service sees itself and what it depends on. */
import {
  HausError,
  type BodyOf,
  type InstanceState,
  type ServiceHealth,
  type updateService as updateServiceOperation,
} from '@haus/contract'
import type { RequestContext } from '../../platform/http/caller.ts'
import { decodeCursor, encodeCursor } from '../../platform/http/cursor.ts'
import { write, type Ledger } from '../../platform/ledger/index.ts'
import { auditOf } from '../audit/index.ts'
import type { CheckHistory, Monitor } from '../health/index.ts'
import type { Holdings } from './aliases.ts'
import { serving } from './balancer.ts'
import { serviceChanged, shownState, urlOf, type InstanceRecord } from './records.ts'
import { instanceNotFound, refuseReserved, retryWhenLost, serviceNotFound } from './refusals.ts'
import { serviceHealth, worstHealth } from './service-health.ts'
import { updateService } from './store.ts'
import type { RegistryView, ServiceSnapshot } from './view.ts'

interface PageRequest {
  readonly limit?: number
  readonly cursor?: string
}

export interface Page<T> {
  readonly items: readonly T[]
  readonly nextCursor: string | null
}

export type ServiceChangeRequest = BodyOf<typeof updateServiceOperation>

const pageDefault = 100

export function createServices(dependencies: {
  readonly ledger: Ledger
  readonly view: RegistryView
  readonly monitor: Monitor
  readonly history: CheckHistory
  readonly holdingsOf: (name: string) => Holdings
}) {
  const { ledger, view, monitor, history, holdingsOf } = dependencies

  function stateOf(instance: InstanceRecord): InstanceState {
    return shownState(instance, monitor.belief(instance.id)?.state ?? instance.state)
  }

  function healthOf(service: ServiceSnapshot): ServiceHealth {
    return serviceHealth(service.instances.map(stateOf))
  }

  function showInstance(instance: InstanceRecord) {
    const belief = monitor.belief(instance.id)
    const flagged = instance.draining || instance.maintenance
    return {
      ...instance,
      url: urlOf(instance),
      state: stateOf(instance),
      reason: belief ? belief.reason : instance.reason,
      stateChangedAt: belief && !flagged ? belief.since : instance.stateChangedAt,
    }
  }

  function showSummary(service: ServiceSnapshot) {
    const { record, instances, index } = service
    const usable = serving(
      instances.map((instance) => ({
        state: stateOf(instance),
        weight: instance.weight,
        vital: noLoad,
      })),
    )
    return {
      name: record.name,
      aliases: view.aliasesOf(record.name),
      health: healthOf(service),
      instances: instances.length,
      usable: usable.length,
      dependencies: record.dependencies,
      tags: [...new Set(instances.flatMap(({ tags }) => tags))].toSorted(),
      index,
    }
  }

  function showDetail(service: ServiceSnapshot) {
    const { record, instances, index } = service
    return {
      name: record.name,
      aliases: view.aliasesOf(record.name),
      callers: record.callers,
      health: healthOf(service),
      dependencies: record.dependencies,
      dependents: view.dependents(record.name),
      cycles: view.cycles(record.name),
      endpoints: record.endpoints,
      healthIntervalSeconds: record.healthIntervalSeconds,
      configVersion: view.config(record.name).version,
      instances: instances.map(showInstance),
      index,
    }
  }

  function showHealth(service: ServiceSnapshot) {
    const { record, instances } = service
    return {
      service: record.name,
      health: healthOf(service),
      healthIntervalSeconds: record.healthIntervalSeconds,
      instances: instances.map((instance) => {
        const { id, address, port, state, reason, stateChangedAt } = showInstance(instance)
        const { last, lastFailure, uptime24h } = history.summaryOf(id)
        const { latencyMs = null, at: checkedAt = null } = last ?? {}
        const shown = { id, address, port, state, reason, stateChangedAt, latencyMs, checkedAt }
        return { ...shown, lastFailure, uptime24h }
      }),
    }
  }

  /** By name. What a service may see is a handful; an operator's page is cut out of the sorted names. */
  function page<T>(
    { limit = pageDefault, cursor }: PageRequest,
    { caller }: RequestContext,
    show: (service: ServiceSnapshot) => T,
  ): Page<T> {
    const after = decodeCursor(cursor) ?? ''
    const names =
      caller.kind === 'service' ? [...view.seenBy(caller.service ?? '')].toSorted() : view.names()
    const items: T[] = []
    let last = ''
    for (let place = firstAfter(names, after); place < names.length; place++) {
      const service = view.service(names[place] ?? '')
      if (!service) continue
      if (items.length === limit) return { items, nextCursor: encodeCursor(last) }
      last = service.record.name
      items.push(show(service))
    }
    return { items, nextCursor: null }
  }

  function seen(nameOrAlias: string, { caller }: RequestContext): ServiceSnapshot {
    const name = view.canonicalService(nameOrAlias)
    if (caller.kind === 'service' && !view.seenBy(caller.service ?? '').has(name)) {
      const detail = `is "${name}", which "${caller.service ?? ''}" does not depend on: name it in the dependencies of the registration`
      throw new HausError('forbidden', `path.name ${detail}.`, {
        fields: [{ field: 'path.name', detail }],
      })
    }
    const service = view.service(name)
    if (!service) throw serviceNotFound(nameOrAlias)
    return service
  }

  function refuseTaken(name: string, aliases: readonly string[]): void {
    for (const [place, alias] of aliases.entries()) {
      const field = `/aliases/${place}`
      refuseReserved(alias, field)
      const holder = view.service(alias)?.record.name
      if (alias !== name && (holder === undefined || holder === name)) continue
      const detail =
        alias === name
          ? `"${alias}" is the name of the service itself; leave it out`
          : `"${alias}" already leads to "${holder ?? ''}"`
      throw new HausError('name_taken', `${detail}.`, { fields: [{ field, detail }] })
    }
  }

  /**
   * Keys and grants stay with the name they were made for. Behind an alias nobody could reach them
   * any more: a key could not be revoked, and a client that holds it would be a service of no name.
   */
  function refuseInUse(aliases: readonly string[], known: readonly string[]): void {
    for (const [place, alias] of aliases.entries()) {
      // What is an alias already may stay one, or the mend of an old house would be refused too.
      if (known.includes(alias)) continue
      const { liveKeys, grants } = holdingsOf(alias)
      if (liveKeys + grants === 0) continue
      const has = [
        ...(liveKeys > 0 ? [counted(liveKeys, 'live key')] : []),
        ...(grants > 0 ? [counted(grants, 'granted credential')] : []),
      ].join(' and ')
      const detail = `"${alias}" has ${has} of its own, out of reach behind an alias: revoke its keys and take back its grants first`
      throw new HausError('name_taken', `${detail}.`, {
        fields: [{ field: `/aliases/${place}`, detail }],
      })
    }
  }

  return {
    list: (request: PageRequest, context: RequestContext) => page(request, context, showSummary),

    get: (nameOrAlias: string, context: RequestContext) => showDetail(seen(nameOrAlias, context)),

    showInstance,

    stateOf,

    update(nameOrAlias: string, request: ServiceChangeRequest, context: RequestContext) {
      return retryWhenLost(`Service "${nameOrAlias}"`, async () => {
        const known = view.service(nameOrAlias)
        if (!known) throw serviceNotFound(nameOrAlias)
        const { record } = known
        const { name } = record
        const { aliases = record.aliases, healthIntervalSeconds = record.healthIntervalSeconds } =
          request
        // A caller is known by its name: an alias may be given to another one later.
        const callers =
          request.callers === undefined
            ? record.callers
            : (request.callers?.map((caller) => view.canonicalService(caller)) ?? null)
        refuseTaken(name, aliases)
        refuseInUse(aliases, record.aliases)
        const revision = record.revision + 1
        const aliasesMac = view.sealAliases(name, aliases)
        const next = { ...record, aliases, aliasesMac, callers, healthIntervalSeconds, revision }
        await ledger.append({
          keys: [name, ...aliases].map((taken) => `service:${taken}`),
          writes: [write(updateService, next)],
          events: [serviceChanged(next)],
          audit: auditOf(context, `services/${name}`, { ...request }),
        })
        return showDetail(view.service(name) ?? known)
      })
    },

    houseHealth() {
      const services = { healthy: 0, degraded: 0, offline: 0, unknown: 0 }
      const healths: ServiceHealth[] = []
      for (const name of view.names()) {
        const service = view.service(name)
        // A service that has no instance any more is not ill, it has moved out.
        if (!service || service.instances.length === 0) continue
        const health = healthOf(service)
        healths.push(health)
        services[health] += 1
      }
      return { status: worstHealth(healths), services }
    },

    servicesHealth: (request: PageRequest, context: RequestContext) =>
      page(request, context, showHealth),

    serviceHealth: (nameOrAlias: string, context: RequestContext) =>
      showHealth(seen(nameOrAlias, context)),

    instanceChecks(nameOrAlias: string, id: string, context: RequestContext) {
      const { record } = seen(nameOrAlias, context)
      const instance = view.instance(id)
      if (!instance || instance.service !== record.name) throw instanceNotFound(record.name, id)
      const { state, reason } = showInstance(instance)
      const { healthIntervalSeconds, name: service } = record
      return { service, instanceId: id, state, reason, healthIntervalSeconds, ...history.of(id) }
    },
  }
}

const noLoad = { load: 0 }

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}

function firstAfter(names: readonly string[], after: string): number {
  let low = 0
  let high = names.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((names[middle] ?? '') <= after) low = middle + 1
    else high = middle
  }
  return low
}
