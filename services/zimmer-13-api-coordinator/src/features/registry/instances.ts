/** What can be done to instances that are there: weight, draining, maintenance, removal. */
import {
  HausError,
  offlinePurgeHours,
  type BodyOf,
  type updateInstance as updateInstanceOperation,
} from '@haus/contract'
import type { Clock } from '../../platform/clock/clock.ts'
import type { RequestContext } from '../../platform/http/caller.ts'
import {
  GuardLost,
  write,
  type AuditEntry,
  type Entry,
  type Ledger,
} from '../../platform/ledger/index.ts'
import { auditOf, auditOfRefusal } from '../audit/index.ts'
import {
  instanceChanged,
  instanceDeregistered,
  instanceKey,
  serviceForgotten,
  type InstanceRecord,
} from './records.ts'
import { instanceNotFound, retryWhenLost, serviceNotFound } from './refusals.ts'
import { forgetService, removeInstance, updateInstance } from './store.ts'
import type { RegistryView } from './view.ts'

export type InstanceChangeRequest = BodyOf<typeof updateInstanceOperation>

export interface Instances {
  update(
    nameOrAlias: string,
    id: string,
    request: InstanceChangeRequest,
    context: RequestContext,
  ): Promise<InstanceRecord>
  deregister(
    nameOrAlias: string,
    id: string,
    incarnation: number | undefined,
    context: RequestContext,
  ): Promise<void>
  /** Every instance of the service. */
  clear(nameOrAlias: string, context: RequestContext): Promise<void>
  /** Those, and the service itself with its configuration, which may stand alone. */
  forget(nameOrAlias: string, context: RequestContext): Promise<void>
  /**
   * One that has been offline and silent for too long; false when it has changed meanwhile, or
   * another process of the house has heard of it.
   */
  purge(instance: InstanceRecord): Promise<boolean>
}

/** One entry of this many rows takes a few milliseconds of a flush. */
const clearBatch = 200
/** The largest service takes 50; more means that instances come as fast as they are removed. */
const clearRoundsMax = 100

export function createInstances(dependencies: {
  readonly ledger: Ledger
  readonly view: RegistryView
  readonly clock: Clock
}): Instances {
  const { ledger, view, clock } = dependencies

  async function remove(
    instance: InstanceRecord,
    guard: {
      readonly revision: number | null
      readonly incarnation: number | null
      readonly silentSeconds: number | null
    },
    audit: AuditEntry,
  ): Promise<boolean> {
    const { id, service, address, port } = instance
    try {
      await ledger.append({
        keys: [instanceKey(service, address, port)],
        writes: [write(removeInstance, { id, service, ...guard })],
        events: [instanceDeregistered(instance)],
        audit,
      })
      return true
    } catch (error) {
      if (error instanceof GuardLost) return false
      throw error
    }
  }

  /** Of a batch of its instances, whatever they are by then. */
  function removalOf(name: string): Pick<Entry, 'keys' | 'writes' | 'events'> {
    const batch = view.service(name)?.instances.slice(0, clearBatch) ?? []
    return {
      keys: batch.map(({ address, port }) => instanceKey(name, address, port)),
      writes: batch.map(({ id }) =>
        write(removeInstance, {
          id,
          service: name,
          revision: null,
          incarnation: null,
          silentSeconds: null,
        }),
      ),
      events: batch.map(instanceDeregistered),
    }
  }

  async function clear(name: string, context: RequestContext): Promise<void> {
    for (let round = 0; round < clearRoundsMax; round++) {
      const removal = removalOf(name)
      const removed = removal.writes.length
      if (removed === 0) return
      await ledger.append({
        ...removal,
        audit: auditOf(context, `services/${name}`, { removed }),
      })
    }
  }

  /** A service that an operator has taken out of traffic must not put itself back. */
  async function refuseMaintenance(name: string, context: RequestContext): Promise<never> {
    const audit = auditOfRefusal(context, `services/${name}`, 'denied', 'forbidden')
    await ledger.append({ keys: [], writes: [], events: [], audit })
    const detail = 'is the operator’s to change; a service drains itself with `draining`'
    throw new HausError('forbidden', `/maintenance ${detail}.`, {
      fields: [{ field: '/maintenance', detail }],
    })
  }

  return {
    update(nameOrAlias, id, request, context) {
      return retryWhenLost(`Instance ${id}`, async () => {
        const known = view.service(nameOrAlias)
        if (!known) throw serviceNotFound(nameOrAlias)
        const { name } = known.record
        const instance = view.instance(id)
        if (!instance || instance.service !== name) throw instanceNotFound(name, id)
        const {
          weight = instance.weight,
          draining = instance.draining,
          maintenance = instance.maintenance,
        } = request
        const same =
          weight === instance.weight &&
          draining === instance.draining &&
          maintenance === instance.maintenance
        if (same) return instance
        if (maintenance !== instance.maintenance && context.caller.kind === 'service') {
          await refuseMaintenance(name, context)
        }
        const resumed = instance.maintenance && !maintenance
        const flagged = draining !== instance.draining || maintenance !== instance.maintenance
        const next: InstanceRecord = {
          ...instance,
          revision: instance.revision + 1,
          weight,
          draining,
          maintenance,
          // Nobody looked at it meanwhile: it has to be seen working first.
          ...(resumed ? { state: 'pending', reason: null } : {}),
          ...(flagged ? { stateChangedAt: clock.now().toISOString() } : {}),
        }
        await ledger.append({
          keys: [instanceKey(name, next.address, next.port)],
          writes: [write(updateInstance, next)],
          events: [instanceChanged(next)],
          audit: auditOf(context, `services/${name}`, { instanceId: id, ...request }),
        })
        return next
      })
    },

    async deregister(nameOrAlias, id, incarnation, context) {
      const instance = view.instance(id)
      if (!instance || instance.service !== view.canonicalService(nameOrAlias)) return
      if (incarnation !== undefined && incarnation < instance.incarnation) return
      const detail = { instanceId: id, incarnation: instance.incarnation }
      const audit = auditOf(context, `services/${instance.service}`, detail)
      // A guard that is lost means that a newer start stands there: this one is gone already.
      const guard = { revision: null, incarnation: incarnation ?? null, silentSeconds: null }
      await remove(instance, guard, audit)
    },

    async clear(nameOrAlias, context) {
      const known = view.service(nameOrAlias)
      if (!known) throw serviceNotFound(nameOrAlias)
      await clear(known.record.name, context)
    },

    async forget(nameOrAlias, context) {
      const name = view.canonicalService(nameOrAlias)
      if (!view.service(name) && view.config(name).version === 0) throw serviceNotFound(nameOrAlias)
      await retryWhenLost(`Service "${name}"`, async () => {
        await clear(name, context)
        // What has come meanwhile goes in the same entry: its key keeps others of it out of the group.
        const last = removalOf(name)
        await ledger.append({
          keys: [`service:${name}`, `config:${name}`, ...last.keys],
          writes: [...last.writes, write(forgetService, { name })],
          events: [...last.events, serviceForgotten(name)],
          audit: auditOf(context, `services/${name}`, { forgotten: true }),
        })
      })
    },

    purge(instance) {
      const { id, service, revision } = instance
      return remove(
        instance,
        { revision, incarnation: null, silentSeconds: offlinePurgeHours * 3_600 },
        {
          actor: 'haus',
          action: 'purgeInstance',
          target: `services/${service}`,
          outcome: 'allowed',
          code: null,
          source: null,
          requestId: null,
          detail: { instanceId: id },
        },
      )
    },
  }
}
