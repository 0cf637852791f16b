/** Health over HTTP: probes for machines apart from reports for people. */
import {
  getHealth,
  getHouseHealth,
  getInstanceChecks,
  getLive,
  getReady,
  getServiceHealth,
  getServicesHealth,
  getSystemHealth,
  type ServiceHealth,
} from '@haus/contract'
import type { InstanceState } from '@haus/contract'
import type { RequestContext } from '../../platform/http/caller.ts'
import type { Answer, Routes } from '../../platform/http/routes.ts'
import type { LedgerStatus } from '../../platform/ledger/ledger.ts'
import type { InstanceHistory } from './check-history.ts'
import type { CheckStatistics } from './statistics.ts'

export interface ServiceHealthReport {
  readonly service: string
  readonly health: ServiceHealth
  readonly healthIntervalSeconds: number
  readonly instances: readonly {
    readonly id: string
    readonly address: string
    readonly port: number
    readonly state: InstanceState
    readonly reason: string | null
    readonly stateChangedAt: string
    readonly latencyMs: number | null
    readonly checkedAt: string | null
    readonly lastFailure: InstanceHistory['lastFailure']
    readonly uptime24h: number | null
  }[]
}

export interface InstanceChecksReport extends InstanceHistory {
  readonly service: string
  readonly instanceId: string
  readonly state: InstanceState
  readonly reason: string | null
  readonly healthIntervalSeconds: number
}

/** What the monitor says of its own work. */
export interface MonitorReport {
  readonly statistics: CheckStatistics
  readonly instances: number
  readonly underWay: number
  /** Looks at every instance: for those who ask for it. */
  overdue(): number
  readonly resultsUnwritten: number
  readonly resultsDropped: number
}

/** What the registry says of its services. */
export interface HealthReports {
  houseHealth(): {
    readonly status: ServiceHealth
    readonly services: Readonly<Record<ServiceHealth, number>>
  }
  servicesHealth(
    page: { readonly limit?: number; readonly cursor?: string },
    context: RequestContext,
  ): { readonly items: readonly ServiceHealthReport[]; readonly nextCursor: string | null }
  serviceHealth(name: string, context: RequestContext): ServiceHealthReport
  instanceChecks(name: string, id: string, context: RequestContext): InstanceChecksReport
  monitorReport(): MonitorReport
  readonly counts: { readonly services: number; readonly instances: number }
}

/** What the composition root knows of its own process. */
export interface ProcessHealth {
  /** `starting` until there is a view to serve; `draining` from the first signal to stop. */
  readiness(): 'ready' | 'starting' | 'draining'
  ledger(): LedgerStatus
  readonly version: string
  readonly startedAt: Date
  readonly databaseKind: 'embedded' | 'postgres'
  uptimeSeconds(): number
  memoryBytes(): number
  eventLoopLagMs(): number
  streams(): number
  integrityFailures(): number
}

export function healthRoutes(routes: Routes, reports: HealthReports, house: ProcessHealth): void {
  const readiness = (): Answer => {
    const status = house.readiness()
    const { available } = house.ledger()
    return {
      status: status === 'ready' ? 200 : 503,
      body: { status, writes: writes(available) },
    }
  }

  routes.implement(getLive, () => ({ status: 200, body: { status: 'alive' } }))
  routes.implement(getReady, readiness)
  routes.implement(getHealth, readiness)

  routes.implement(getHouseHealth, () => {
    const { index, ageMs, available } = house.ledger()
    return {
      status: 200,
      body: {
        ...reports.houseHealth(),
        monitor: factsOf(reports.monitorReport()),
        writes: writes(available),
        index,
        ageMs,
      },
    }
  })
  routes.implement(getServicesHealth, ({ query, context }) => ({
    status: 200,
    body: reports.servicesHealth(query, context),
  }))
  routes.implement(getServiceHealth, ({ params, context }) => ({
    status: 200,
    body: reports.serviceHealth(params.name, context),
  }))
  routes.implement(getInstanceChecks, ({ params, context }) => ({
    status: 200,
    body: reports.instanceChecks(params.name, params.id, context),
  }))
  routes.implement(getSystemHealth, () => {
    const monitor = reports.monitorReport()
    const { underWay, resultsUnwritten, resultsDropped } = monitor
    const { index, ageMs, available, error, queued, flushP99Ms } = house.ledger()
    return {
      status: 200,
      body: {
        version: house.version,
        startedAt: house.startedAt.toISOString(),
        uptimeSeconds: house.uptimeSeconds(),
        memoryBytes: house.memoryBytes(),
        eventLoopLagMs: house.eventLoopLagMs(),
        database: { kind: house.databaseKind, available, error },
        ledger: { index, queued, flushP99Ms },
        view: { index, ageMs, ...reports.counts },
        monitor: {
          ...factsOf(monitor),
          underWay,
          overdue: monitor.overdue(),
          unjudged: monitor.statistics.outcomes.unjudged,
          resultsUnwritten,
          resultsDropped,
        },
        streams: house.streams(),
        integrityFailures: house.integrityFailures(),
      },
    }
  })
}

function factsOf({ instances, statistics }: MonitorReport) {
  return {
    instances,
    checksPerSecond: statistics.perSecond(),
    lateP99Ms: statistics.lateP99Ms(),
  }
}

function writes(available: boolean): 'available' | 'unavailable' {
  return available ? 'available' : 'unavailable'
}
