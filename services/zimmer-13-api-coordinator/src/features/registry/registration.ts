/**
 * Registration: a running instance enters the address book, and learns in one answer everything
 * it needs to begin.
 *
 * Nothing is half-written: service, instance, events and audit are one entry, and credentials
 * leave only after it is durable. The probe runs beside the commit and is waited for briefly; it
 * tells the owner what is wrong, it never decides whether the registration stands.
 */
import {
  healthIntervalSecondsDefault,
  heartbeatIntervalSeconds,
  HausError,
  instancesMax,
  instancesPerServiceMax,
  leaseTtlSeconds,
  servicesMax,
  weightDefault,
  type BodyOf,
  type registerInstance,
} from '@haus/contract'
import type { Clock } from '../../platform/clock/clock.ts'
import type { Random } from '../../platform/crypto/random.ts'
import { refuseRevoked, type RequestContext } from '../../platform/http/caller.ts'
import { GuardLost, write, type Ledger } from '../../platform/ledger/index.ts'
import { notOwn } from '../../platform/http/index.ts'
import { auditOf, auditOfRefusal } from '../audit/index.ts'
import type { Finding, Monitor, Prober } from '../health/index.ts'
import type { AddressPolicy } from '../../platform/network/address-policy.ts'
import type { Granted, GrantedCredentials, RegistrationCredentials } from './credentials-port.ts'
import type { Leases } from './leases.ts'
import {
  instanceDeregistered,
  instanceKey,
  instanceRegistered,
  serviceChanged,
  type ConfigRecord,
  type InstanceRecord,
  type ServiceRecord,
} from './records.ts'
import { forgetRoute, refuseReserved, retryWhenLost } from './refusals.ts'
import { joinInstance, putInstance, putService, removeInstance } from './store.ts'
import type { RegistryView, ServiceSnapshot } from './view.ts'

export type RegistrationRequest = BodyOf<typeof registerInstance>

export interface RegistrationAnswer {
  readonly service: string
  readonly instanceId: string
  readonly incarnation: number
  readonly heartbeatIntervalSeconds: number
  readonly leaseTtlSeconds: number | null
  readonly credentials: GrantedCredentials
  readonly config: ConfigRecord
  readonly advertise: {
    readonly state: 'reachable' | 'unreachable' | 'pending'
    readonly address: string
    readonly port: number
    readonly mend?: string
  }
  readonly warnings: readonly string[]
}

interface RegistrationDependencies {
  readonly ledger: Ledger
  readonly view: RegistryView
  readonly credentials: RegistrationCredentials
  readonly policy: AddressPolicy
  readonly prober: Prober
  readonly monitor: Monitor
  readonly leases: Leases
  readonly clock: Clock
  readonly random: Random
}

/** Longer would make registration as slow as the slowest service. */
const firstProbeWaitMs = 1_000
/** Each turn more means that somebody changed these credentials within milliseconds. */
const grantTriesMax = 5

export function createRegistration(
  deps: RegistrationDependencies,
): (request: RegistrationRequest, context: RequestContext) => Promise<RegistrationAnswer> {
  const { ledger, view, credentials, policy, prober, monitor, leases, clock, random } = deps
  /** Services whose own row is being written: their instances wait for it instead of competing. */
  const serviceWrites = new Map<string, Promise<void>>()
  /** New instances under way to the view, by service. */
  const coming = new Map<string, number>()
  let comingAll = 0

  return async function register(request, context) {
    refuseReserved(request.name, '/name')
    const name = view.canonicalService(request.name)
    const operator = context.caller.kind === 'operator'
    if (!operator && view.canonicalService(context.caller.service ?? '') !== name) {
      throw notOwn('/name', name, context.caller.service ?? '')
    }
    const { port } = request
    const address = await admittedAddress(name, request, context)
    const offered = await credentials.grantedTo(name, request.credentialsNeeded, context)
    refuseBeyondLimits(name, address, port)

    const { scheme = 'http', healthEndpoint = null } = request
    const probeStartedMs = clock.monotonicMs()
    const probing = prober.probe({ address, port, scheme, healthEndpoint })
    const arrived = announce(name, address, port)
    const instance = await retryWhenLost(`"${name}" at ${address}:${port}`, () =>
      commit(name, address, request, offered, context),
    ).finally(arrived)
    const { id, incarnation } = instance
    try {
      const granted = await currentGrant(offered, instance, request, context)
      rememberHandedOut(instance, request, granted)
      void probing?.then((finding) => monitor.reportFinding(id, incarnation, finding))
      const finding = probing && (await withinMs(probing, firstProbeWaitMs, probeStartedMs))
      refuseRevoked(context.caller)
      return {
        service: name,
        instanceId: id,
        incarnation,
        heartbeatIntervalSeconds,
        leaseTtlSeconds: instance.leased ? leaseTtlSeconds : null,
        credentials: granted,
        config: view.config(name),
        advertise: verdictOf(address, port, finding),
        warnings: warningsFor(name),
      }
    } catch (error) {
      await takeBack(instance, error, context)
      throw error
    }
  }

  /** An address that is not one's own is an attempt that operators look for: it is on record. */
  async function admittedAddress(
    name: string,
    { address, port }: RegistrationRequest,
    context: RequestContext,
  ): Promise<string> {
    const { source, caller } = context
    const operator = caller.kind === 'operator'
    try {
      return policy.admit({ address: address ?? source, port, source, operator })
    } catch (error) {
      if (!(error instanceof HausError)) throw error
      const detail = { address: address ?? source, port }
      const audit = auditOfRefusal(context, `services/${name}`, 'denied', error.code, detail)
      await ledger.append({ keys: [], writes: [], events: [], audit })
      throw error
    }
  }

  /**
   * What has changed while the registration was being written does not leave: it is asked for
   * again, and handed out on a record of its own. A service that has lost a grant meanwhile is
   * refused like one that never had it.
   */
  async function currentGrant(
    first: Granted,
    { id, service, incarnation }: InstanceRecord,
    request: RegistrationRequest,
    context: RequestContext,
  ): Promise<GrantedCredentials> {
    let granted = first
    for (let tries = 1; !granted.isCurrent(); tries++) {
      if (tries > grantTriesMax) {
        throw new HausError(
          'version_conflict',
          `The credentials of "${service}" change faster than they can be handed out; register again.`,
        )
      }
      granted = await credentials.grantedTo(service, request.credentialsNeeded, context)
      const detail = { instanceId: id, incarnation, ...granted.auditDetail }
      const audit = auditOf(context, `services/${service}`, detail)
      await ledger.append({ keys: [], writes: [], events: [], audit })
    }
    return granted.credentials
  }

  /**
   * A registration that is written and cannot be answered does not stand: its owner believes that
   * it failed. When not even that can be written, the owner is told that nobody knows.
   * @throws HausError write_outcome_unknown
   */
  async function takeBack(
    instance: InstanceRecord,
    why: unknown,
    context: RequestContext,
  ): Promise<void> {
    const { id, service, incarnation, address, port } = instance
    const code = why instanceof HausError ? why.code : 'internal_error'
    const detail = { instanceId: id, incarnation, takenBack: true }
    const audit = auditOfRefusal(context, `services/${service}`, 'failed', code, detail)
    try {
      await ledger.append({
        keys: [instanceKey(service, address, port)],
        writes: [
          write(removeInstance, {
            id,
            service,
            revision: null,
            incarnation,
            silentSeconds: null,
          }),
        ],
        events: [instanceDeregistered(instance)],
        audit,
      })
    } catch (error) {
      // A newer start stands there, or nobody does: this one is gone already.
      if (error instanceof GuardLost) return
      throw new HausError(
        'write_outcome_unknown',
        `"${service}" at ${address}:${port} was registered, the answer failed, and taking the registration back was not confirmed: register again.`,
        { retryAfterSeconds: 1, cause: new AggregateError([why, error]) },
      )
    }
  }

  async function commit(
    name: string,
    address: string,
    request: RegistrationRequest,
    offered: Granted,
    context: RequestContext,
  ): Promise<InstanceRecord> {
    for (let busy = serviceWrites.get(name); busy; busy = serviceWrites.get(name)) await busy
    if (view.canonicalService(name) !== name) {
      throw new HausError(
        'version_conflict',
        `"${name}" has just become an alias of "${view.canonicalService(name)}"; register again.`,
      )
    }
    const known = view.service(name)
    const service = serviceAfter(name, known, request)
    const instance = instanceAfter(name, address, request, context)
    const detail = {
      instanceId: instance.id,
      incarnation: instance.incarnation,
      address,
      port: instance.port,
      ...offered.auditDetail,
    }
    const key = instanceKey(name, address, instance.port)
    const audit = auditOf(context, `services/${name}`, detail)
    if (!service) {
      await ledger.append({
        keys: [key],
        writes: [write(joinInstance, instance)],
        events: [instanceRegistered(instance)],
        audit,
      })
      return instance
    }
    const appended = ledger.append({
      keys: [key, `service:${name}`],
      writes: [write(putService, service), write(putInstance, instance)],
      events: [serviceChanged(service), instanceRegistered(instance)],
      audit,
    })
    const written = appended
      .then(
        () => {},
        () => {},
      )
      .finally(() => serviceWrites.delete(name))
    serviceWrites.set(name, written)
    await appended
    return instance
  }

  /** The record of the service if it has to change; null: it stands as it is. */
  function serviceAfter(
    name: string,
    known: ServiceSnapshot | undefined,
    { dependencies, endpoints, healthIntervalSeconds }: RegistrationRequest,
  ): ServiceRecord | null {
    if (!known) {
      return {
        name,
        aliases: [],
        aliasesMac: null,
        callers: null,
        dependencies: dependencies ?? [],
        endpoints: endpoints ?? [],
        healthIntervalSeconds: healthIntervalSeconds ?? healthIntervalSecondsDefault,
        revision: 1,
        createdAt: clock.now().toISOString(),
      }
    }
    const { record } = known
    const same =
      (dependencies === undefined || sameJson(dependencies, record.dependencies)) &&
      (endpoints === undefined || sameJson(endpoints, record.endpoints)) &&
      (healthIntervalSeconds ?? record.healthIntervalSeconds) === record.healthIntervalSeconds
    if (same && record.revision > 0) return null
    return {
      ...record,
      dependencies: dependencies ?? record.dependencies,
      endpoints: endpoints ?? record.endpoints,
      healthIntervalSeconds: healthIntervalSeconds ?? record.healthIntervalSeconds,
      revision: record.revision + 1,
    }
  }

  function instanceAfter(
    name: string,
    address: string,
    request: RegistrationRequest,
    context: RequestContext,
  ): InstanceRecord {
    const before = view.instanceAt(name, address, request.port)
    const now = clock.now().toISOString()
    return {
      id: before?.id ?? random.id(),
      service: name,
      incarnation: (before?.incarnation ?? 0) + 1,
      revision: (before?.revision ?? 0) + 1,
      version: request.version,
      address,
      port: request.port,
      scheme: request.scheme ?? 'http',
      healthEndpoint: request.healthEndpoint ?? null,
      state: 'pending',
      reason: null,
      // What an operator has set outlives a restart, unless the instance says otherwise.
      weight: request.weight ?? before?.weight ?? weightDefault,
      zone: request.zone ?? null,
      tags: request.tags ?? [],
      metadata: request.metadata ?? {},
      leased: context.caller.kind === 'service',
      // Draining ends with the process that drained; maintenance is the operator's to end.
      draining: false,
      maintenance: before?.maintenance ?? false,
      registeredAt: now,
      stateChangedAt: now,
    }
  }

  /**
   * What is under way in this process counts as if it stood. Other processes see it when it is
   * written: over one database a limit can be exceeded by what they have in flight, each at most
   * its ledger's queue of 8,192 and a group of 512.
   */
  function refuseBeyondLimits(name: string, address: string, port: number): void {
    if (view.instanceAt(name, address, port)) return
    const { services, instances } = view.counts
    const known = view.service(name)
    const full = (more: number): boolean => services + more >= servicesMax
    if (!known && !coming.has(name) && full(coming.size) && full(servicesComing())) {
      throw limitReached(
        `The house has ${servicesMax} services, its limit, and "${name}" would be one more: forget one that is no more with ${forgetRoute}.`,
      )
    }
    const comingHere = coming.get(name) ?? 0
    if ((known?.instances.length ?? 0) + comingHere >= instancesPerServiceMax) {
      throw limitReached(
        `"${name}" has ${instancesPerServiceMax} instances, the limit; deregister those that are gone.`,
      )
    }
    if (instances + comingAll >= instancesMax) {
      throw limitReached(
        `The house has ${instancesMax} instances, its limit; deregister those that are gone.`,
      )
    }
  }

  /** Services that are new themselves. */
  function servicesComing(): number {
    let services = 0
    for (const name of coming.keys()) if (!view.service(name)) services += 1
    return services
  }

  function announce(name: string, address: string, port: number): () => void {
    if (view.instanceAt(name, address, port)) return () => {}
    coming.set(name, (coming.get(name) ?? 0) + 1)
    comingAll += 1
    return () => {
      comingAll -= 1
      const left = (coming.get(name) ?? 0) - 1
      if (left > 0) coming.set(name, left)
      else coming.delete(name)
    }
  }

  /** So that the first heartbeat is answered with what has changed, and not with everything. */
  function rememberHandedOut(
    { id, incarnation }: InstanceRecord,
    { credentialsNeeded }: RegistrationRequest,
    granted: GrantedCredentials,
  ): void {
    const lease = leases.get(id)
    if (lease?.incarnation !== incarnation) return
    const versions: Record<string, number> = {}
    for (const [name, { version }] of Object.entries(granted)) versions[name] = version
    lease.adopted = versions
    lease.needed = credentialsNeeded ? new Set(credentialsNeeded) : null
    lease.configVersion = view.config(view.instance(id)?.service ?? '').version
  }

  function withinMs<T>(promise: Promise<T>, waitMs: number, sinceMs: number): Promise<T | null> {
    return new Promise((resolve) => {
      const leftMs = Math.max(0, sinceMs + waitMs - clock.monotonicMs())
      const cancel = clock.after(leftMs, () => resolve(null))
      void promise.then((value) => {
        cancel()
        resolve(value)
      })
    })
  }

  function warningsFor(name: string): string[] {
    const dependencies = view.service(name)?.record.dependencies ?? []
    if (dependencies.length === 0) return []
    return [
      ...dependencies
        .filter((dependency) => !view.service(dependency))
        .map((dependency) => `dependency "${dependency}" has never registered`),
      ...view.cycles(name).map((cycle) => `dependency cycle: ${[...cycle, name].join(' -> ')}`),
    ]
  }
}

function limitReached(detail: string): HausError {
  return new HausError('limit_reached', detail)
}

function sameJson(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

function verdictOf(
  address: string,
  port: number,
  finding: Finding | null,
): RegistrationAnswer['advertise'] {
  if (!finding) return { state: 'pending', address, port }
  const reachable = finding.kind === 'passed' || finding.kind === 'ailing'
  if (reachable) return { state: 'reachable', address, port }
  return {
    state: 'unreachable',
    address,
    port,
    ...(finding.mend === null ? {} : { mend: finding.mend }),
  }
}
