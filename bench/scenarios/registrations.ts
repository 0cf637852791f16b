/**
 * Registrations of distinct instances, acknowledged durably, then counted again after `kill -9`.
 *
 * Each is a real one: by the service's own token, on an address of its own, behind which a listener
 * takes the first probe. What counts is what the restarted house says of itself through its API,
 * compared one by one with what was acknowledged.
 */
import {
  acknowledgedNumbers,
  LatencyHistogram,
  loopbackAddress,
  summaryOf,
  type RequestTemplate,
} from '../load-generator.ts'
import {
  createIdentities,
  databaseNames,
  HouseUnderTest,
  type DatabaseKind,
  type Identity,
} from '../house-under-test.ts'
import { measureDiskSyncsPerSecond } from '../machine.ts'
import { startProbeListener } from '../probe-listener.ts'
import type { Bar, BenchContext, Figure, Outcome, Scenario } from '../scenario.ts'

const services = 200
/** A client per service, and some. */
const connections = 256
/** Below the house's own limit of 100,000 instances. */
const requestsMax = 90_000
const atLeastPerSecond: Readonly<Record<DatabaseKind, number>> = {
  embedded: 3_000,
  postgres: 4_000,
}

export const registrations: Scenario = {
  name: 'registrations',
  summary: 'distinct instances registered durably, counted again after kill -9',
  run,
}

async function run(context: BenchContext): Promise<Outcome> {
  const figures: Figure[] = []
  const bars: Bar[] = []
  const details: Record<string, unknown> = { connections, services }
  for (const kind of context.databases) {
    const outcome = await runOn(kind, context)
    figures.push(...outcome.figures)
    bars.push(...outcome.bars)
    Object.assign(details, outcome.details)
  }
  return { figures, bars, details }
}

async function runOn(kind: DatabaseKind, { seconds, progress }: BenchContext): Promise<Outcome> {
  const on = databaseNames[kind]
  progress(`${on}: measuring the disk`)
  const syncsBefore = measureDiskSyncsPerSecond(1_000)
  progress(`${on}: starting the house`)
  await using listener = await startProbeListener()
  await using sut = await HouseUnderTest.start(kind)
  progress(`${on}: making ${services} identities`)
  const identities = await createIdentities(sut.house, services)
  const { result, cpu } = await sut.load(
    {
      connections,
      warmupMs: 5_000,
      durationMs: seconds * 1_000,
      requestsMax,
      answerTimeoutMs: 10_000,
      templates: identities.map((identity) => registrationOf(identity, listener.port)),
      recordAcknowledged: true,
    },
    {
      onProgress: (answered) => progress(`${on}: ${answered} registrations answered`),
    },
  )
  progress(`${on}: kill -9 and restart`)
  await sut.kill9AndRestart()
  const syncsAfter = measureDiskSyncsPerSecond(1_000)
  progress(`${on}: counting again`)
  const present = await registeredAddresses(sut, identities)
  const acknowledged = acknowledgedNumbers(result)
  const missing = acknowledged.filter((number) => !present.has(placeOf(number, identities))).length
  const perSecond = result.completed / (result.measuredMs / 1000)
  const latency = LatencyHistogram.from(result.latency)
  const perOperation = (ms: number): number => (ms * 1000) / result.completed
  const group = on
  return {
    figures: [
      { group, name: 'registrations acknowledged durably', value: perSecond, unit: '/s' },
      { group, name: 'p50', value: latency.quantileMs(0.5), unit: 'ms' },
      { group, name: 'p99', value: latency.quantileMs(0.99), unit: 'ms' },
      {
        group,
        name: 'CPU of the house per registration',
        value: perOperation(cpu.houseMs),
        unit: 'µs',
      },
      ...(kind === 'postgres'
        ? [
            {
              group,
              name: 'CPU of PostgreSQL per registration',
              value: perOperation(cpu.databaseMs),
              unit: 'µs',
            },
          ]
        : []),
      { group, name: 'acknowledged in all', value: acknowledged.length, unit: '' },
      { group, name: 'counted after kill -9', value: present.size, unit: '' },
      { group, name: 'restart after kill -9', value: sut.house.readyMs, unit: 'ms' },
      { group, name: 'fdatasync of the disk, before', value: syncsBefore, unit: '/s' },
      { group, name: 'fdatasync of the disk, after', value: syncsAfter, unit: '/s' },
      {
        group,
        name: 'registrations per fdatasync',
        value: (perSecond * 2) / (syncsBefore + syncsAfter),
        unit: '',
      },
    ],
    bars: [
      {
        name: `${on}: registrations`,
        value: perSecond,
        unit: '/s',
        atLeast: atLeastPerSecond[kind],
      },
      { name: `${on}: acknowledged and missing`, value: missing, unit: '', atMost: 0 },
      { name: `${on}: failed requests`, value: result.failed, unit: '', atMost: 0 },
    ],
    details: {
      [kind]: {
        ...summaryOf(result),
        acknowledged: acknowledged.length,
        cpu,
        database: await sut.databaseVersion(),
      },
    },
  }
}

function registrationOf({ service, token }: Identity, port: number): RequestTemplate {
  return {
    method: 'POST',
    path: '/api/services/register',
    headers: { authorization: `Bearer ${token}` },
    body: JSON.stringify({ name: service, version: '1.4.0', port, address: '%address%' }),
    expect: 201,
  }
}

/** `service address`, as it was registered under a number. */
function placeOf(number: number, identities: readonly Identity[]): string {
  return `${identities[number % identities.length]?.service} ${loopbackAddress(number)}`
}

async function registeredAddresses(
  sut: HouseUnderTest,
  identities: readonly Identity[],
): Promise<Set<string>> {
  const present = new Set<string>()
  for (const { service } of identities) {
    const { body } = await sut.house.operator.expect(200, 'GET', `/api/services/${service}`)
    for (const instance of body.instances) present.add(`${service} ${instance.address}`)
  }
  return present
}
