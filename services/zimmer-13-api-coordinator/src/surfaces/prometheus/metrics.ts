/**
 * What Prometheus may know of the house: counts, times and the names of services, never a secret.
 */
import { catalogue, instanceStates, type InstanceState } from '@haus/contract'
import { Counter, Gauge, Registry } from 'prom-client'
import type { GatewayCounts } from '../../features/gateway/index.ts'
import type { MonitorReport } from '../../features/health/index.ts'
import type { HouseSnapshot, InstanceRecord } from '../../features/registry/index.ts'
import type { RequestDone } from '../../platform/http/index.ts'
import type { LedgerStatus } from '../../platform/ledger/ledger.ts'
import { checkMetrics, serviceMetrics } from './check-metrics.ts'
import { gatewayMetrics } from './gateway-metrics.ts'
import { createRequestDurations } from './request-durations.ts'

/** Read when Prometheus asks, so that nothing is kept twice. */
export interface MetricsReadings {
  readonly version: string
  readonly databaseKind: string
  uptimeSeconds(): number
  memoryBytes(): number
  /** Null where the system does not tell. */
  openFiles(): { readonly count: number; readonly max: number } | null
  logLinesLost(): number
  /** 99th percentile of the last minute. */
  eventLoopLagMs(): number
  ledger(): LedgerStatus
  house(): HouseSnapshot
  /** What every surface shows of it: what is believed, and the operator's word. */
  instanceState(instance: InstanceRecord): InstanceState
  monitor(): MonitorReport
  /** Null until its thread has told for the first time. */
  gateway(): GatewayCounts | null
  streams(): number
  /** Rows and aliases since the start that were refused. */
  integrityFailures(): number
}

export interface Metrics {
  readonly onRequestDone: RequestDone
  /** In the text exposition format 0.0.4. */
  text(readings: MetricsReadings): Promise<string>
}

export function createMetrics(): Metrics {
  const durations = createRequestDurations(catalogue.map((operation) => operation.id))
  return {
    onRequestDone: (operation, _method, status, durationMs) =>
      durations.observe(operation, status, durationMs),

    async text(readings) {
      const registry = new Registry()
      const gauge = (name: string, help: string, value: number): void => {
        new Gauge({ name, help, registers: [registry] }).set(value)
      }
      const ledger = readings.ledger()
      const house = readings.house()

      new Gauge({
        name: 'haus_build_info',
        help: 'Always 1; the labels say what runs.',
        labelNames: ['version', 'database'],
        registers: [registry],
      }).set({ version: readings.version, database: readings.databaseKind }, 1)
      gauge('haus_uptime_seconds', 'Since the process started.', readings.uptimeSeconds())
      gauge('process_resident_memory_bytes', 'Resident memory.', readings.memoryBytes())
      const files = readings.openFiles()
      if (files !== null) {
        gauge('process_open_fds', 'Open descriptors, of which sockets are most.', files.count)
        gauge('process_max_fds', 'How many there may be.', files.max)
      }
      gauge(
        'haus_event_loop_lag_seconds',
        '99th percentile of the last minute.',
        readings.eventLoopLagMs() / 1000,
      )
      gauge(
        'haus_database_available',
        '1 while writes are taken; at 0 reads go on from memory.',
        ledger.available ? 1 : 0,
      )
      gauge('haus_ledger_index', 'The last entry that this process has applied.', ledger.index)
      gauge('haus_ledger_queued_entries', 'Entries that wait for a flush.', ledger.queued)
      gauge(
        'haus_ledger_flush_p99_seconds',
        '99th percentile of recent flushes.',
        ledger.flushP99Ms / 1000,
      )
      gauge(
        'haus_view_age_seconds',
        'Since this process last knew that it was up to date; 0 in normal work.',
        ledger.ageMs / 1000,
      )
      gauge('haus_event_streams', 'Open event streams.', readings.streams())
      gauge('haus_services', 'Services that are known.', house.services.size)
      instances(registry, house, readings)
      new Counter({
        name: 'haus_log_lines_lost_total',
        help: 'Lines that could not be written, because standard output is full or closed.',
        registers: [registry],
      }).inc(readings.logLinesLost())
      new Counter({
        name: 'haus_integrity_failures_total',
        help: 'Stored rows and aliases that were refused because Haus did not write them as they are.',
        registers: [registry],
      }).inc(readings.integrityFailures())

      return [
        await registry.metrics(),
        serviceMetrics(house, (instance) => readings.instanceState(instance)),
        checkMetrics(readings.monitor()),
        gatewayMetrics(readings.gateway()),
        durations.text(),
      ].join('')
    },
  }
}

function instances(registry: Registry, house: HouseSnapshot, readings: MetricsReadings): void {
  const gauge = new Gauge({
    name: 'haus_instances',
    help: 'Instances by state; with a lease of their own, or kept by their probe alone.',
    labelNames: ['state', 'lease'],
    registers: [registry],
  })
  const counts = new Map<string, { leased: number; probed: number }>(
    instanceStates.map((state) => [state, { leased: 0, probed: 0 }]),
  )
  for (const service of house.services.values()) {
    for (const instance of service.instances) {
      const count = counts.get(readings.instanceState(instance))
      if (count !== undefined) count[instance.leased ? 'leased' : 'probed'] += 1
    }
  }
  for (const [state, { leased, probed }] of counts) {
    gauge.set({ state, lease: 'held' }, leased)
    gauge.set({ state, lease: 'none' }, probed)
  }
}
