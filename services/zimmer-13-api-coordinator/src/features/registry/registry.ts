/**
 * The registry as a whole: who is there, who can serve, who has gone silent.
 *
 * It follows the view, so that it makes no difference who wrote a change: every instance in the
 * view has a lease record and a place in the monitor, and none that left has either.
 */
import { healthIntervalSecondsDefault, offlinePurgeHours } from '@haus/contract'
import type { Cancel, Clock } from '../../platform/clock/clock.ts'
import { createBusyGauge } from '../../platform/clock/event-loop-busy.ts'
import type { Random } from '../../platform/crypto/random.ts'
import type { Database } from '../../platform/database/index.ts'
import type { RequestContext } from '../../platform/http/caller.ts'
import type { Ledger } from '../../platform/ledger/index.ts'
import type { Log } from '../../platform/log/log.ts'
import {
  createCheckHistory,
  createMonitor,
  createPlaces,
  createProber,
  type Believed,
  type Evidence,
  type HealthReports,
} from '../health/index.ts'
import type { Tables } from '../tables.ts'
import { createAddressPolicy, type Listener } from '../../platform/network/address-policy.ts'
import type { Holdings } from './aliases.ts'
import type { Vital } from './balancer.ts'
import { createConfiguration } from './configuration.ts'
import type { RegistrationCredentials } from './credentials-port.ts'
import { createDiscovery, type DiscoveryQuery } from './discovery.ts'
import { createHeartbeats, type HeartbeatAnswer, type HeartbeatRequest } from './heartbeats.ts'
import { createInstances, type InstanceChangeRequest } from './instances.ts'
import { createLeases, type Leases } from './leases.ts'
import type { ConfigRecord, InstanceRecord } from './records.ts'
import {
  createRegistration,
  type RegistrationAnswer,
  type RegistrationRequest,
} from './registration.ts'
import { createServices } from './services.ts'
import { createStateJournal } from './state-journal.ts'
import { checkpointLastSeen, offlineAges } from './store.ts'
import { createTraffic, type Traffic } from './traffic.ts'
import type { RegistryView, ViewChange } from './view.ts'

export interface RegistryOptions {
  readonly database: Database<Tables>
  readonly ledger: Ledger
  readonly view: RegistryView
  readonly credentials: RegistrationCredentials
  /** Keys and grants of a name: one that has any cannot become an alias. */
  readonly holdingsOf: (name: string) => Holdings
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** CIDRs that services may advertise beside the address they connect from. */
  readonly advertiseAllow: readonly string[]
  /** Where Haus itself listens; asked at every check, since ports may be chosen late. */
  readonly ownListeners: () => readonly Listener[]
}

type Services = ReturnType<typeof createServices>

export interface Registry extends HealthReports {
  /** After the ledger has started, which loads the view. */
  start(): Promise<void>
  stop(): Promise<void>

  register(request: RegistrationRequest, context: RequestContext): Promise<RegistrationAnswer>
  heartbeat(name: string, id: string, request: HeartbeatRequest): HeartbeatAnswer
  updateInstance(
    name: string,
    id: string,
    request: InstanceChangeRequest,
    context: RequestContext,
  ): Promise<ReturnType<Services['showInstance']>>
  deregister(
    name: string,
    id: string,
    incarnation: number | undefined,
    context: RequestContext,
  ): Promise<void>
  listServices: Services['list']
  getService: Services['get']
  updateService: Services['update']
  /** Its instances; with `forget` itself too. */
  deleteService(name: string, forget: boolean, context: RequestContext): Promise<void>
  getConfig(name: string): ConfigRecord
  putConfig(
    name: string,
    request: { data: Record<string, unknown>; cas?: number },
    context: RequestContext,
  ): Promise<ConfigRecord>

  /** JSON, from memory. @throws HausError service_not_found */
  discover(query: DiscoveryQuery): Buffer | string
  /** The index the view stands at, and its age; cheap enough for every answer. */
  freshness(): { readonly index: number; readonly ageMs: number }
  /** What somebody else has seen of an instance, such as the gateway: counts at once. */
  report(id: string, incarnation: number, evidence: Evidence): void
  /** The state that every surface shows: what is believed, and the operator's word. */
  stateOf: Services['stateOf']
  /** Who may be sent what, for the gateway. */
  readonly traffic: Traffic
}

const checkpointIntervalMs = 10_000
/** Rows per checkpoint: the record of when somebody was last heard serves a limit of a day. */
const checkpointRows = 500
const purgeIntervalMs = 60_000
const purgesPerRound = 100
const purgeAfterMs = offlinePurgeHours * 3_600_000
/** After a start nobody is purged for this long: a wall clock that jumped is no reason. */
const purgeGraceMs = 3_600_000
/** Asking the ledger costs more than the rest of a discovery; its age moves in seconds. */
const freshnessSampleMs = 50

export function createRegistry(options: RegistryOptions): Registry {
  const { database, ledger, view, credentials, clock, random, log } = options
  const policy = createAddressPolicy({
    allow: options.advertiseAllow,
    ownListeners: options.ownListeners,
  })
  const places = createPlaces({
    clock,
    routineDemand: () => monitor.demandPerSecond,
    busy: createBusyGauge(clock),
  })
  const prober = createProber({ clock, rules: policy, places })
  const history = createCheckHistory({
    db: database.db,
    clock,
    log,
    available: () => ledger.status().available,
  })
  const monitor = createMonitor({
    clock,
    prober,
    onChecked: (id, finding, intervalMs) => history.add(id, finding, intervalMs),
    onBelief(id) {
      const service = view.instance(id)?.service
      if (service !== undefined) {
        discovery.forget(service)
        traffic.changed(service, id)
      }
      journal.note(id)
    },
  })
  const leases: Leases = createLeases({
    clock,
    onExpired: (lease) => monitor.leaseLives(lease.id, false),
  })
  const discovery = createDiscovery({
    view,
    believed: (id) => monitor.belief(id)?.state,
    vital: (id) => leases.get(id) ?? noLoad,
    unit: () => random.unit(),
  })
  const journal = createStateJournal({
    ledger,
    view,
    belief: (id) => monitor.belief(id),
    clock,
    log,
  })
  const register = createRegistration({
    ledger,
    view,
    credentials,
    policy,
    prober,
    monitor,
    leases,
    clock,
    random,
  })
  const beat = createHeartbeats({ view, leases, monitor, credentials })
  const instances = createInstances({ ledger, view, clock })
  const { holdingsOf } = options
  const services = createServices({ ledger, view, monitor, history, holdingsOf })
  const configuration = createConfiguration({ ledger, view, clock })
  const cancels = new Set<Cancel>()
  let stopped = false
  let sampledAtMs = Number.NEGATIVE_INFINITY
  let ageMs = 0
  /** How often the instances of each service are checked, as the monitor knows it. */
  const paces = new Map<string, number>()

  view.onChange(follow)
  // After the monitor, whose beliefs it tells.
  const traffic = createTraffic({ view, believed: (id) => monitor.belief(id)?.state })

  function follow(change: ViewChange): void {
    if (change.loaded) {
      for (const lease of leases.all()) {
        if (!view.instance(lease.id)) depart(lease.id)
      }
    }
    const forgotten = change.loaded
      ? [...paces.keys()].filter((name) => !view.service(name))
      : change.forgotten
    for (const name of forgotten) {
      paces.delete(name)
      discovery.forget(name)
    }
    for (const { after, before } of change.instances) {
      if (after) arrive(after)
      else if (before) depart(before.id)
    }
    for (const service of change.services) {
      const { name, healthIntervalSeconds } = service.record
      const known = paces.get(name)
      paces.set(name, healthIntervalSeconds)
      if (known === undefined || known === healthIntervalSeconds) continue
      for (const instance of service.instances) arrive(instance)
    }
  }

  function arrive(instance: InstanceRecord): void {
    const { id, incarnation, leased } = instance
    const { healthIntervalSeconds = healthIntervalSecondsDefault } =
      view.service(instance.service)?.record ?? {}
    const intervalMs = healthIntervalSeconds * 1_000
    if (leases.get(id)?.incarnation !== incarnation) leases.grant(id, incarnation, leased)
    monitor.watch(
      { ...targetOf(instance), id, incarnation, leased, intervalMs, paused: instance.maintenance },
      believedOf(instance),
      instance.reason,
      instance.stateChangedAt,
    )
  }

  function depart(id: string): void {
    leases.drop(id)
    monitor.forget(id)
    history.forget(id)
  }

  function every(intervalMs: number, task: () => Promise<void>): void {
    const next = (): void => {
      if (stopped) return
      const cancel = clock.after(intervalMs, () => {
        cancels.delete(cancel)
        void task()
          .catch((error: unknown) => log.warn({ err: error }, 'the registry will try again'))
          .finally(next)
      })
      cancels.add(cancel)
    }
    next()
  }

  async function checkpoint(): Promise<void> {
    if (!ledger.status().available) return
    const ids = leases.takeHeard(checkpointRows)
    if (ids.length === 0) return
    try {
      leases.putBack(await checkpointLastSeen(database.db, ids))
    } catch (error) {
      leases.putBack(ids)
      throw error
    }
  }

  async function purge(): Promise<void> {
    if (!ledger.status().available) return
    const longAgoMs = clock.monotonicMs() - purgeAfterMs
    const gone: InstanceRecord[] = []
    for (const lease of leases.all()) {
      if (gone.length === purgesPerRound) break
      // An operator's registration has nobody who would register it again.
      if (!lease.leased || lease.lastHeardMs > longAgoMs) continue
      const instance = view.instance(lease.id)
      if (instance && !instance.maintenance && monitor.belief(lease.id)?.state === 'offline') {
        gone.push(instance)
      }
    }
    for (const instance of gone) {
      if (await instances.purge(instance)) {
        log.info(
          { service: instance.service, instance: instance.id },
          `an instance was offline and silent for ${offlinePurgeHours} hours and is forgotten`,
        )
        continue
      }
      // Another process hears of it: it is not asked about every minute, before those behind it.
      const lease = leases.get(instance.id)
      if (lease) lease.lastHeardMs = Math.max(lease.lastHeardMs, longAgoMs + purgeGraceMs)
    }
  }

  return {
    async start() {
      const nowMs = clock.monotonicMs()
      for await (const { id, ageMs: silentMs } of offlineAges(database.db)) {
        const lease = leases.get(id)
        if (lease) lease.lastHeardMs = nowMs - Math.min(silentMs, purgeAfterMs - purgeGraceMs)
      }
      await history.start((id) => view.instance(id) !== undefined)
      leases.start()
      monitor.start()
      every(checkpointIntervalMs, checkpoint)
      every(purgeIntervalMs, purge)
    },

    async stop() {
      stopped = true
      for (const cancel of cancels) cancel()
      leases.stop()
      monitor.stop()
      await journal.stop()
      await history.stop()
    },

    register,
    heartbeat: beat,

    async updateInstance(name, id, request, context) {
      return services.showInstance(await instances.update(name, id, request, context))
    },
    deregister: (name, id, incarnation, context) =>
      instances.deregister(name, id, incarnation, context),

    listServices: services.list,
    getService: services.get,
    updateService: services.update,
    deleteService: (name, forget, context) =>
      forget ? instances.forget(name, context) : instances.clear(name, context),
    getConfig: (name) => configuration.get(name),
    putConfig: (name, request, context) => configuration.put(name, request, context),

    discover: (query) => discovery.answer(query),

    freshness() {
      const nowMs = clock.monotonicMs()
      if (nowMs - sampledAtMs > freshnessSampleMs) {
        sampledAtMs = nowMs
        ageMs = ledger.status().ageMs
      }
      return { index: view.index, ageMs }
    },

    report: (id, incarnation, evidence) => monitor.report(id, incarnation, evidence),
    traffic,

    stateOf: services.stateOf,
    houseHealth: services.houseHealth,
    servicesHealth: services.servicesHealth,
    serviceHealth: services.serviceHealth,
    instanceChecks: services.instanceChecks,
    monitorReport: () => ({
      statistics: monitor.statistics,
      instances: monitor.watching,
      underWay: prober.underWay,
      overdue: monitor.overdue,
      resultsUnwritten: history.unwritten,
      resultsDropped: history.dropped,
    }),
    get counts() {
      return view.counts
    },
  }
}

const noLoad: Vital = { load: 0 }

function targetOf({ address, port, scheme, healthEndpoint }: InstanceRecord) {
  return { address, port, scheme, healthEndpoint }
}

/** The flags of the operator are columns of their own; a row that says otherwise is judged anew. */
function believedOf({ state }: InstanceRecord): Believed {
  return state === 'draining' || state === 'maintenance' ? 'unknown' : state
}
