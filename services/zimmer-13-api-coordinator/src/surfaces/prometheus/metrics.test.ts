import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { InstanceRecord, ServiceRecord } from '../../features/registry/index.ts'
import { createCheckStatistics } from '../../features/health/index.ts'
import { ManualClock } from '../../testing/manual-clock.ts'
import { startHttpServer } from '../../testing/http-server.ts'
import { createMetrics } from './metrics.ts'
import type { MetricsReadings } from './metrics.ts'
import { prometheusRoutes } from './routes.ts'

function instance(change: Partial<InstanceRecord>): InstanceRecord {
  return {
    id: '01933b6e-7c00-7000-8000-000000000003',
    service: 'orders',
    incarnation: 1,
    revision: 1,
    version: '1',
    address: '192.0.2.1',
    port: 3000,
    scheme: 'http',
    healthEndpoint: null,
    state: 'healthy',
    reason: null,
    weight: 100,
    zone: null,
    tags: [],
    metadata: {},
    leased: true,
    draining: false,
    maintenance: false,
    registeredAt: '2026-11-23T12:00:00.000Z',
    stateChangedAt: '2026-11-23T12:00:00.000Z',
    ...change,
  }
}

const record: ServiceRecord = {
  name: 'orders',
  aliases: [],
  aliasesMac: null,
  callers: null,
  dependencies: [],
  endpoints: [],
  healthIntervalSeconds: 30,
  revision: 1,
  createdAt: '2026-11-23T12:00:00.000Z',
}

const statistics = createCheckStatistics(new ManualClock())
statistics.add({ kind: 'passed', reason: null, mend: null, latencyMs: 2 }, 0.5)
statistics.add({ kind: 'timeout', reason: 'no answer', mend: null, latencyMs: 5_001 }, 40)
statistics.add({ kind: 'passed', reason: null, mend: null, latencyMs: 2 }, null)

const readings: MetricsReadings = {
  version: '0.1.0',
  databaseKind: 'embedded',
  uptimeSeconds: () => 12,
  memoryBytes: () => 1024,
  openFiles: () => ({ count: 30, max: 1_024 }),
  logLinesLost: () => 2,
  eventLoopLagMs: () => 1.5,
  ledger: () => ({
    index: 7,
    queued: 3,
    available: false,
    readable: false,
    error: 'the database is away',
    ageMs: 2500,
    flushP99Ms: 4,
  }),
  house: () => ({
    version: 1,
    index: 7,
    services: new Map([
      [
        'orders',
        {
          record,
          index: 7,
          instances: [
            instance({}),
            instance({ state: 'suspect' }),
            instance({ draining: true }),
            instance({ maintenance: true, draining: true, leased: false }),
          ],
        },
      ],
    ]),
  }),
  instanceState: ({ state, draining, maintenance }) =>
    maintenance ? 'maintenance' : draining ? 'draining' : state,
  monitor: () => ({
    statistics,
    instances: 4,
    underWay: 1,
    overdue: () => 2,
    resultsUnwritten: 5,
    resultsDropped: 6,
  }),
  gateway: () => ({
    connections: 3,
    refused: [0, 0, 0, 7, 0],
    linesLost: 0,
    services: [
      {
        service: 'orders',
        upstream: [0, 5, 0, 1, 0],
        gateway: [0, 0, 0, 0, 2],
        retries: 4,
        ejections: 1,
        requestBytes: 10,
        answerBytes: 2_000,
        durations: [5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        durationSumMs: 20_500,
        active: 6,
        openBreakers: 1,
      },
    ],
  }),
  streams: () => 2,
  integrityFailures: () => 1,
}

/** Samples by name with labels; every line must be one that Prometheus can read. */
function samples(text: string): Map<string, number> {
  const found = new Map<string, number>()
  const typed = new Set<string>()
  for (const line of text.trimEnd().split('\n')) {
    if (line === '') continue
    const comment = /^# (HELP|TYPE) ([a-z0-9_]+) (.+)$/.exec(line)
    if (comment !== null) {
      if (comment[1] === 'TYPE') typed.add(comment[2] ?? '')
      continue
    }
    const sample = /^([a-z0-9_]+)((?:\{[a-z_]+="[^"]*"(?:,[a-z_]+="[^"]*")*\})?) (\S+)$/.exec(line)
    assert.ok(sample, line)
    const [, name = '', labels = '', value] = sample
    assert.ok(typed.has(name.replace(/_(bucket|sum|count)$/, '')) || typed.has(name), line)
    assert.ok(!found.has(name + labels), `twice: ${line}`)
    assert.ok(Number.isFinite(Number(value)), line)
    found.set(name + labels, Number(value))
  }
  return found
}

test('the readings of the house appear under names in base units', async () => {
  const found = samples(await createMetrics().text(readings))
  assert.equal(found.get('haus_build_info{version="0.1.0",database="embedded"}'), 1)
  assert.equal(found.get('haus_database_available'), 0)
  assert.equal(found.get('process_open_fds'), 30)
  assert.equal(found.get('process_max_fds'), 1_024)
  assert.equal(found.get('haus_log_lines_lost_total'), 2)
  assert.equal(found.get('haus_ledger_index'), 7)
  assert.equal(found.get('haus_ledger_queued_entries'), 3)
  assert.equal(found.get('haus_view_age_seconds'), 2.5)
  assert.equal(found.get('haus_event_loop_lag_seconds'), 0.0015)
  assert.equal(found.get('haus_integrity_failures_total'), 1)
  assert.equal(found.get('haus_event_streams'), 2)
})

test('instances are counted by the state that every surface shows', async () => {
  const found = samples(await createMetrics().text(readings))
  assert.equal(found.get('haus_instances{state="healthy",lease="held"}'), 1)
  assert.equal(found.get('haus_instances{state="suspect",lease="held"}'), 1)
  assert.equal(found.get('haus_instances{state="draining",lease="held"}'), 1)
  assert.equal(found.get('haus_instances{state="maintenance",lease="none"}'), 1)
  assert.equal(found.get('haus_instances{state="offline",lease="held"}'), 0)
})

test('the monitor tells what it found, how long that took, and how late it was', async () => {
  const found = samples(await createMetrics().text(readings))
  assert.equal(found.get('haus_checks_total{outcome="passed"}'), 2)
  assert.equal(found.get('haus_checks_total{outcome="timeout"}'), 1)
  assert.equal(found.get('haus_checks_total{outcome="unjudged"}'), 0)
  assert.equal(found.get('haus_checks_under_way'), 1)
  assert.equal(found.get('haus_checks_overdue'), 2)
  assert.equal(found.get('haus_check_results_dropped_total'), 6)
  assert.equal(found.get('haus_check_duration_seconds_bucket{le="0.005"}'), 2)
  assert.equal(found.get('haus_check_duration_seconds_bucket{le="5"}'), 2)
  assert.equal(found.get('haus_check_duration_seconds_count'), 3)
  assert.equal(found.get('haus_check_lateness_seconds_bucket{le="0.001"}'), 1)
  assert.equal(found.get('haus_check_lateness_seconds_count'), 2, 'newcomers have no due time')
})

test('each service has its instances by state', async () => {
  const found = samples(await createMetrics().text(readings))
  assert.equal(found.get('haus_service_instances{service="orders",state="healthy"}'), 1)
  assert.equal(found.get('haus_service_instances{service="orders",state="maintenance"}'), 1)
  assert.equal(found.get('haus_service_instances{service="orders",state="offline"}'), 0)
})

test('requests are counted by operation and class; what is no operation adds no series', async () => {
  const metrics = createMetrics()
  metrics.onRequestDone('discover', 'GET', 200, 0.4)
  metrics.onRequestDone('discover', 'GET', 200, 30)
  metrics.onRequestDone('discover', 'GET', 200, 60_000)
  metrics.onRequestDone('discover', 'GET', 404, 0.1)
  metrics.onRequestDone('none', 'PROPFIND', 405, 0.1)
  metrics.onRequestDone('made up', 'GET', 200, 1)
  metrics.onRequestDone('discover', 'GET', 999, 1)
  const found = samples(await metrics.text(readings))
  const name = 'haus_http_request_duration_seconds'
  const labels = 'operation="discover",status="2xx"'
  assert.equal(found.get(`${name}_bucket{${labels},le="0.0005"}`), 1)
  assert.equal(found.get(`${name}_bucket{${labels},le="0.025"}`), 1)
  assert.equal(found.get(`${name}_bucket{${labels},le="0.05"}`), 2)
  assert.equal(found.get(`${name}_bucket{${labels},le="5"}`), 2)
  assert.equal(found.get(`${name}_bucket{${labels},le="+Inf"}`), 3)
  assert.equal(found.get(`${name}_count{${labels}}`), 3)
  assert.ok(Math.abs((found.get(`${name}_sum{${labels}}`) ?? 0) - 60.0304) < 1e-9)
  assert.equal(found.get(`${name}_count{operation="discover",status="4xx"}`), 1)
  assert.equal(found.get(`${name}_count{operation="none",status="4xx"}`), 1)
  assert.equal([...found.keys()].filter((key) => key.startsWith(`${name}_count`)).length, 3)
})

test('the scrape token reads it as text', async () => {
  const metrics = createMetrics()
  const server = await startHttpServer({
    surface: (routes) => prometheusRoutes(routes, metrics, readings),
  })
  try {
    const answer = await fetch(`${server.url}/metrics`, {
      headers: { authorization: 'Bearer scrape-token' },
    })
    assert.equal(answer.status, 200)
    assert.equal(answer.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
    assert.ok(samples(await answer.text()).has('haus_uptime_seconds'))
  } finally {
    await server.close()
  }
})

test('the gateway appears by service: answers by who made them, durations, breakers', async () => {
  const found = samples(await createMetrics().text(readings))
  const requests = 'haus_gateway_requests_total{service="orders",'
  assert.equal(found.get(`${requests}source="upstream",status="2xx"}`), 5)
  assert.equal(found.get(`${requests}source="gateway",status="5xx"}`), 2)
  assert.equal(found.get('haus_gateway_refused_total{status="4xx"}'), 7)
  assert.equal(found.get('haus_gateway_retries_total{service="orders"}'), 4)
  assert.equal(found.get('haus_gateway_open_breakers{service="orders"}'), 1)
  const duration = 'haus_gateway_request_duration_seconds'
  assert.equal(found.get(`${duration}_bucket{service="orders",le="0.005"}`), 7)
  assert.equal(found.get(`${duration}_bucket{service="orders",le="+Inf"}`), 8)
  assert.equal(found.get(`${duration}_count{service="orders"}`), 8)
  assert.equal(found.get(`${duration}_sum{service="orders"}`), 20.5)
})

test('before the gateway has told anything there is nothing of it', async () => {
  const text = await createMetrics().text({ ...readings, gateway: () => null })
  assert.doesNotMatch(text, /haus_gateway_/)
})
