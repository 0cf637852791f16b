/**
 * `npm run load`: many clients for a while on everything a service does, or through the gateway,
 * and not one failure.
 *
 * It starts a house of its own, and ends with 1 when anything failed, when a read of credentials
 * has no audit record, or when the house does not stop cleanly afterwards.
 */
import { parseArgs } from 'node:util'
import { requestToken } from '../e2e/client.ts'
import {
  databaseKinds,
  databaseNames,
  HouseUnderTest,
  type DatabaseKind,
} from './house-under-test.ts'
import { LatencyHistogram } from './load-generator.ts'
import { operations, runLoadClients, type LoadClient, type LoadReport } from './load-clients.ts'
import { startProbeListener } from './probe-listener.ts'
import { memoryOf, processTree } from './process-usage.ts'
import { createProgress } from './progress.ts'
import { runGatewayLoad } from './gateway-load.ts'

const usage = `Usage: npm run load -- [scenario] [options]

Scenarios:
  mix               discovery, registration, heartbeats, credential reads and tokens (the default)
  gateway           requests through the gateway over several instances
  gateway-churn     the same, idempotent ones, while an instance is killed and replaced every 5 s

Options:
  --seconds N       how long (60)
  --clients N       how many at once, each a service with an identity of its own (100)
  --database KIND   embedded (the default) or postgres
  --help            show this

Ends with 1 unless there are 0 failures.
`

const scenarios = { mix, gateway: throughGateway, 'gateway-churn': throughGateway } as const
type ScenarioName = keyof typeof scenarios

interface Chosen {
  readonly scenario: ScenarioName
  readonly seconds: number
  readonly clients: number
  readonly database: DatabaseKind
}

/** What a person would wait for; the house's own limits are far below. */
const answerTimeoutMs = 10_000
const setupConcurrency = 8
/** Of `gateway-churn`: a kill and its replacement are over when the next comes. */
const churnIntervalMs = 5_000

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
process.exitCode = await main()

async function main(): Promise<number> {
  let chosen: Chosen | 'help'
  try {
    chosen = readArguments()
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`)
    return 2
  }
  if (chosen === 'help') {
    process.stdout.write(usage)
    return 0
  }
  return scenarios[chosen.scenario](chosen)
}

/** @throws with one sentence about what is wrong with them. */
function readArguments(): Chosen | 'help' {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seconds: { type: 'string', default: '60' },
      clients: { type: 'string', default: '100' },
      database: { type: 'string', default: 'embedded' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) return 'help'
  const [name = 'mix'] = positionals
  const scenario = (Object.keys(scenarios) as ScenarioName[]).find((known) => known === name)
  if (scenario === undefined) throw new Error(`There is no scenario "${name}".`)
  const seconds = Number(values.seconds)
  if (!(seconds > 0 && seconds <= 86_400)) throw new Error('--seconds must be between 0 and 86400.')
  const clients = Number(values.clients)
  if (!(Number.isInteger(clients) && clients >= 1 && clients <= 1_000)) {
    throw new Error('--clients must be a whole number between 1 and 1000.')
  }
  const database = databaseKinds.find((kind) => kind === values.database)
  if (database === undefined) throw new Error('--database must be embedded or postgres.')
  return { scenario, seconds, clients, database }
}

async function throughGateway(chosen: Chosen): Promise<number> {
  const { scenario, seconds, clients, database } = chosen
  const churn = scenario === 'gateway-churn'
  const progress = createProgress(process.stdout, false)
  const also = churn ? `, one instance killed and replaced every ${churnIntervalMs / 1000} s` : ''
  say(`${clients} clients for ${seconds} s through the gateway${also}`)
  await using sut = await HouseUnderTest.start(database)
  const cpuBefore = sut.cpu()
  const { result, killed } = await runGatewayLoad({
    house: sut.house,
    service: 'orders',
    clients,
    durationMs: seconds * 1_000,
    ...(churn ? { killEveryMs: churnIntervalMs } : {}),
    onProgress: progress,
  })
  progress.clear()
  const cpuUs = ((sut.cpu().houseMs - cpuBefore.houseMs) * 1_000) / result.answered
  const memory = memoryOf(processTree(sut.house.pid))
  const latency = LatencyHistogram.from(result.latency)
  const [p50, p99] = [0.5, 0.99].map((share) => latency.quantileMs(share).toFixed(1))
  const perSecond = (result.completed / (result.measuredMs / 1000)).toFixed(0)
  say(
    `${result.answered.toLocaleString('en-US')} answers, ${perSecond}/s, p50 ${p50} ms, p99 ${p99} ms, max ${latency.maxMs.toFixed(1)} ms; ${killed} instances killed`,
  )
  say(`CPU per request: house ${cpuUs.toFixed(0)} µs; RSS ${memory.rssMb.toFixed(0)} MB`)
  for (const { reason, body } of result.samples) say(`  ${reason}: ${body.slice(0, 300)}`)
  const stopped = await sut.house.stop()
  const faults = [
    ...(result.failed > 0 ? [`${result.failed} failures ${JSON.stringify(result.failures)}`] : []),
    ...(stopped.exitCode === 0 ? [] : [`the house ended with ${stopped.exitCode}`]),
  ]
  return verdict(faults)
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

function verdict(faults: readonly string[]): number {
  say(faults.length === 0 ? '0 failures' : `FAILED: ${faults.join(', ')}`)
  return faults.length === 0 ? 0 : 1
}

async function mix({ seconds, clients: count, database }: Chosen): Promise<number> {
  const progress = createProgress(process.stdout, false)
  say(`${count} clients for ${seconds} s on ${databaseNames[database]}`)
  await using listener = await startProbeListener()
  await using sut = await HouseUnderTest.start(database)
  progress(`making ${count} identities`)
  const clients = await createClients(sut, count)
  const { host, port } = sut.target
  const cpuBefore = sut.cpu()
  const startedMs = performance.now()
  const report = await runLoadClients(
    {
      host,
      port,
      durationMs: seconds * 1_000,
      answerTimeoutMs,
      clients,
      instancePort: listener.port,
    },
    (sofar) => progress(progressOf(sofar, (performance.now() - startedMs) / 1000)),
  )
  progress.clear()
  const elapsedS = (performance.now() - startedMs) / 1000
  const cpuAfter = sut.cpu()
  const memory = memoryOf(processTree(sut.house.pid))
  say(tableOf(report, elapsedS))
  const total = totalOf(report)
  const cpuUs = ((cpuAfter.houseMs - cpuBefore.houseMs) * 1_000) / total.count
  const databaseUs = ((cpuAfter.databaseMs - cpuBefore.databaseMs) * 1_000) / total.count
  const ofDatabase = database === 'postgres' ? `, PostgreSQL ${databaseUs.toFixed(0)} µs` : ''
  say(
    `CPU per operation: house ${cpuUs.toFixed(0)} µs${ofDatabase}; RSS ${memory.rssMb.toFixed(0)} MB`,
  )

  const [row] = await sut.queryStopped(
    `select count(*) as rows from haus.audit
     where action = 'getServiceCredentials' and outcome = 'allowed'`,
  )
  const audited = Number(row?.['rows'])
  say(`audit: ${audited} records for ${report.audited} answered reads of credentials`)
  const stopped = await sut.house.stop()
  for (const failure of report.failures) say(`  ${failure}`)
  const faults = [
    ...(total.failures > 0 ? [`${total.failures} failures`] : []),
    // An answer may be lost on its way; a record may not.
    ...(audited < report.audited ? [`${report.audited - audited} reads without a record`] : []),
    ...(stopped.exitCode === 0 ? [] : [`the house ended with ${stopped.exitCode}`]),
  ]
  return verdict(faults)
}

async function createClients(sut: HouseUnderTest, count: number): Promise<LoadClient[]> {
  const { operator, url } = sut.house
  const places = Array.from({ length: count }, (_, place) => place)
  const clients: LoadClient[] = []
  const work = async (): Promise<void> => {
    for (let place = places.shift(); place !== undefined; place = places.shift()) {
      const service = `client-${place}`
      const password = `password-of-${service}`
      const { body } = await operator.expectSoon(201, 'POST', `/api/services/${service}/keys`)
      const { clientId, clientSecret } = body
      await operator.expectSoon(201, 'POST', '/api/credentials/create', {
        name: `${service}-database`,
        data: { password },
        services: [service],
      })
      const token = await requestToken(url, { clientId, clientSecret })
      clients.push({ service, clientId, clientSecret, token, password })
    }
  }
  await Promise.all(Array.from({ length: setupConcurrency }, work))
  return clients
}

function totalOf(report: LoadReport): { count: number; failures: number } {
  let count = 0
  let failures = 0
  for (const operation of operations) {
    count += report.operations[operation].count
    failures += report.operations[operation].failures
  }
  return { count, failures }
}

function progressOf(report: LoadReport, elapsedS: number): string {
  const { count, failures } = totalOf(report)
  const rate = Math.round(count / elapsedS).toLocaleString('en-US')
  return `${elapsedS.toFixed(0)} s: ${count.toLocaleString('en-US')} answers, ${rate}/s, ${failures} failures`
}

function tableOf(report: LoadReport, elapsedS: number): string {
  const header = ['operation', 'count', '/s', 'failures', 'p50 ms', 'p99 ms', 'max ms']
  const rows = operations.map((name) => {
    const { count, failures, latency } = report.operations[name]
    const histogram = LatencyHistogram.from(latency)
    return [
      name,
      count.toLocaleString('en-US'),
      (count / elapsedS).toFixed(0),
      String(failures),
      histogram.quantileMs(0.5).toFixed(1),
      histogram.quantileMs(0.99).toFixed(1),
      histogram.maxMs.toFixed(1),
    ]
  })
  const { count, failures } = totalOf(report)
  const total = [
    'all',
    count.toLocaleString('en-US'),
    (count / elapsedS).toFixed(0),
    String(failures),
  ]
  return [header, ...rows, total]
    .map((row) =>
      row.map((cell, column) => (column === 0 ? cell.padEnd(12) : cell.padStart(11))).join(''),
    )
    .join('\n')
}
