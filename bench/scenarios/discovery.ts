/**
 * Discovery with tokens checked, beside a bare `node:http` server that sends the same bytes.
 *
 * The two take turns in short runs (ABAB), so that a machine that slows down or speeds up does so
 * for both; the ratio is the median over pairs. The instances are the operator's registrations:
 * leases that nobody renews would end in the middle and measure something else.
 */
import { until } from '../../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { generateLoad, LatencyHistogram, loopbackAddress, type Plan } from '../load-generator.ts'
import {
  createIdentities,
  HouseUnderTest,
  type CpuTime,
  type Identity,
} from '../house-under-test.ts'
import { cpuMsOf } from '../process-usage.ts'
import { startProbeListener } from '../probe-listener.ts'
import { startReferenceServer } from '../reference-server.ts'
import { median, type BenchContext, type Outcome, type Scenario } from '../scenario.ts'

const services = 200
const instancesPerService = 10
const connections = 64
const pairs = 5
const registrationsAtOnce = 16
const atLeastRatio = 0.6

export const discovery: Scenario = {
  name: 'discovery',
  summary: `GET /api/discover for ${services} services of ${instancesPerService} instances, tokens checked`,
  run,
}

async function run({ seconds, progress }: BenchContext): Promise<Outcome> {
  progress('starting the house')
  await using listener = await startProbeListener()
  await using sut = await HouseUnderTest.start('embedded')
  progress(`making ${services} identities`)
  const identities = await createIdentities(sut.house, services)
  progress(`registering ${services * instancesPerService} instances`)
  await registerAll(sut, identities, listener.port)

  const templates = identities.map(({ service, token }) => ({
    method: 'GET',
    path: `/api/discover?service=${service}`,
    headers: { authorization: `Bearer ${token}` },
    expect: 200,
  }))
  const answer = await sampleAnswer(sut, identities)
  await using reference = await startReferenceServer(answer)
  const plan = {
    connections,
    warmupMs: 500,
    durationMs: (seconds * 1000) / pairs,
    answerTimeoutMs: 5_000,
    templates,
  }
  const onReference = async (changes: Partial<Plan> = {}): Promise<Run> => {
    let cpuMs = 0
    const target = { host: '127.0.0.1', port: reference.port }
    const result = await generateLoad(
      { ...plan, ...changes, ...target },
      {
        onMeasuring: () => (cpuMs -= cpuMsOf([reference.pid])),
        onMeasured: () => (cpuMs += cpuMsOf([reference.pid])),
      },
    )
    return runOf(result, { houseMs: cpuMs, databaseMs: 0 })
  }
  const onHouse = async (changes: Partial<Plan> = {}): Promise<Run> => {
    const { result, cpu } = await sut.load({ ...plan, ...changes })
    return runOf(result, cpu)
  }

  progress('warming up')
  // Below some 50,000 requests a part of the path still runs in code that is not optimised.
  const warm = { warmupMs: 7_000, durationMs: 100 }
  await onHouse(warm)
  await onReference(warm)
  const runs: { house: Run; reference: Run }[] = []
  for (let pair = 1; pair <= pairs; pair += 1) {
    progress(`closed loop, pair ${pair} of ${pairs}`)
    runs.push({ house: await onHouse(), reference: await onReference() })
  }
  progress('open loop at 2,000/s')
  const open = { ratePerSecond: 2_000, durationMs: 3_000 }
  const openRuns = { house: await onHouse(open), reference: await onReference(open) }

  const failed = [...runs, openRuns].reduce((sum, { house }) => sum + house.failed, 0)
  const side = (name: 'house' | 'reference', key: keyof Run): number =>
    median(runs.map((pair) => pair[name][key]))
  const ratio = median(runs.map((pair) => pair.house.perSecond / pair.reference.perSecond))
  const figuresOf = (name: 'house' | 'reference', group: string) => [
    { group, name: 'requests', value: side(name, 'perSecond'), unit: '/s' },
    { group, name: 'CPU per request', value: side(name, 'cpuUs'), unit: 'µs' },
    { group, name: 'p50, closed loop', value: side(name, 'p50Ms'), unit: 'ms' },
    { group, name: 'p99, closed loop', value: side(name, 'p99Ms'), unit: 'ms' },
    { group, name: 'p50 at 2,000/s', value: openRuns[name].p50Ms, unit: 'ms' },
    { group, name: 'p99 at 2,000/s', value: openRuns[name].p99Ms, unit: 'ms' },
  ]
  return {
    figures: [
      ...figuresOf('house', 'Haus'),
      ...figuresOf('reference', 'bare node:http'),
      { group: 'ratio', name: 'requests', value: ratio, unit: '' },
      {
        group: 'ratio',
        name: 'CPU per request',
        value: side('house', 'cpuUs') / side('reference', 'cpuUs'),
        unit: '',
      },
      {
        group: 'generator',
        name: 'CPU per request',
        value: side('house', 'generatorUs'),
        unit: 'µs',
      },
    ],
    bars: [
      {
        name: 'share of the bare server’s requests/s',
        value: ratio,
        unit: '',
        atLeast: atLeastRatio,
      },
      { name: 'failed requests', value: failed, unit: '', atMost: 0 },
    ],
    details: {
      connections,
      answerBytes: Buffer.byteLength(answer.body),
      pairs: runs,
      open: openRuns,
    },
  }
}

interface Run {
  readonly perSecond: number
  readonly cpuUs: number
  readonly generatorUs: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
  readonly failed: number
}

function runOf(result: Awaited<ReturnType<typeof generateLoad>>, cpu: CpuTime): Run {
  const latency = LatencyHistogram.from(result.latency)
  return {
    perSecond: result.completed / (result.measuredMs / 1000),
    cpuUs: (cpu.houseMs * 1000) / result.completed,
    generatorUs: (result.generatorCpuMs * 1000) / result.completed,
    p50Ms: latency.quantileMs(0.5),
    p99Ms: latency.quantileMs(0.99),
    maxMs: latency.maxMs,
    failed: result.failed,
  }
}

async function registerAll(
  sut: HouseUnderTest,
  identities: readonly Identity[],
  port: number,
): Promise<void> {
  let next = 0
  const work = async (): Promise<void> => {
    while (next < services * instancesPerService) {
      const number = next
      next += 1
      await sut.house.operator.expectSoon(201, 'POST', '/api/services/register', {
        name: identities[number % services]?.service,
        version: '1.4.0',
        port,
        address: loopbackAddress(number),
        tags: ['http', 'bench'],
        zone: 'a',
      })
    }
  }
  await Promise.all(Array.from({ length: registrationsAtOnce }, work))
}

/** Headers and body as the house sends them; those that Node adds by itself are left to it. */
async function sampleAnswer(sut: HouseUnderTest, identities: readonly Identity[]) {
  const added = new Set(['date', 'connection', 'keep-alive', 'content-length', 'transfer-encoding'])
  let sample: { headers: Record<string, string>; body: string } | undefined
  for (const [place, { service, token }] of identities.entries()) {
    const client = sut.house.as(token)
    // The first probes of a burst of registrations are spread over some seconds.
    const answer = await until(
      `${instancesPerService} usable instances of ${service}`,
      async () => {
        const found = await client.expect(200, 'GET', `/api/discover?service=${service}`)
        return found.body.instances.length === instancesPerService ? found : undefined
      },
      60_000,
    )
    if (place > 0) continue
    const headers: Record<string, string> = {}
    for (const [name, value] of Object.entries(answer.headers)) {
      if (!added.has(name) && typeof value === 'string') headers[name] = value
    }
    sample = { headers, body: answer.text }
  }
  if (sample === undefined) throw new Error('There is no service')
  return sample
}
