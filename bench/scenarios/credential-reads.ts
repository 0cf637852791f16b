/**
 * Credentials read by services: authenticated, decrypted, and each audited durably before its
 * answer leaves. Afterwards the audit in the database is counted against the answers, one by one.
 */
import { generateLoad, LatencyHistogram, summaryOf, type PlanResult } from '../load-generator.ts'
import {
  createIdentities,
  databaseNames,
  HouseUnderTest,
  type DatabaseKind,
} from '../house-under-test.ts'
import { measureDiskSyncsPerSecond } from '../machine.ts'
import { cpuMsOf } from '../process-usage.ts'
import { startReferenceServer } from '../reference-server.ts'
import type { Bar, BenchContext, Figure, Outcome, Scenario } from '../scenario.ts'

const identitiesCount = 20
const connections = 256
const openRatePerSecond = 2_000
const atLeastPerSecond = 10_000
const p99AtMostMs = 10

export const credentialReads: Scenario = {
  name: 'credential-reads',
  summary: `GET /api/credentials/service/{name} over ${identitiesCount} identities, every read audited`,
  run,
}

async function run(context: BenchContext): Promise<Outcome> {
  const figures: Figure[] = []
  const bars: Bar[] = []
  const details: Record<string, unknown> = { connections, identities: identitiesCount }
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
  const syncs = measureDiskSyncsPerSecond(1_000)
  progress(`${on}: starting the house`)
  await using sut = await HouseUnderTest.start(kind)
  const identities = await createIdentities(sut.house, identitiesCount)
  for (const { service } of identities) {
    await sut.house.operator.expect(201, 'POST', '/api/credentials/create', {
      name: `${service}-database`,
      data: { username: service, password: `bench-password-of-${service}` },
      services: [service],
    })
  }
  const [first] = identities
  if (first === undefined) throw new Error('There is no identity')
  const answer = await sut.house.as(first.token).get(`/api/credentials/service/${first.service}`)
  if (answer.status !== 200) throw new Error(`Credentials cannot be read: ${answer.text}`)

  const plan = {
    connections,
    warmupMs: 4_000,
    durationMs: seconds * 1_000,
    answerTimeoutMs: 10_000,
    templates: identities.map(({ service, token }) => ({
      method: 'GET',
      path: `/api/credentials/service/${service}`,
      headers: { authorization: `Bearer ${token}` },
      expect: 200,
    })),
  }
  progress(`${on}: closed loop`)
  const closed = await sut.load(plan)
  progress(`${on}: open loop at ${openRatePerSecond}/s`)
  const open = await sut.load({ ...plan, ratePerSecond: openRatePerSecond })

  progress(`${on}: the bare node:http server`)
  await using reference = await startReferenceServer({
    headers: { 'content-type': 'application/json; charset=utf-8' },
    body: answer.text,
  })
  let referenceCpuMs = 0
  const bare = await generateLoad(
    { ...plan, host: '127.0.0.1', port: reference.port, durationMs: 3_000 },
    {
      onMeasuring: () => (referenceCpuMs -= cpuMsOf([reference.pid])),
      onMeasured: () => (referenceCpuMs += cpuMsOf([reference.pid])),
    },
  )

  progress(`${on}: counting the audit`)
  const version = await sut.databaseVersion()
  const [row] = await sut.queryStopped(
    `select count(*) as rows, count(distinct request_id) as requests from haus.audit
     where action = 'getServiceCredentials' and outcome = 'allowed'`,
  )
  const audited = Number(row?.['rows'])
  // One read before the load gave the reference its body.
  const answered = okOf(closed.result) + okOf(open.result) + 1
  const failed = closed.result.failed + open.result.failed
  const perSecond = closed.result.completed / (closed.result.measuredMs / 1000)
  const barePerSecond = bare.completed / (bare.measuredMs / 1000)
  const closedLatency = LatencyHistogram.from(closed.result.latency)
  const openLatency = LatencyHistogram.from(open.result.latency)
  const openP99Ms = openLatency.quantileMs(0.99)
  const cpuUs = (cpuMs: number, { completed }: PlanResult): number => (cpuMs * 1000) / completed
  const group = on
  return {
    figures: [
      { group, name: 'audited reads, closed loop', value: perSecond, unit: '/s' },
      { group, name: 'p50, closed loop', value: closedLatency.quantileMs(0.5), unit: 'ms' },
      { group, name: 'p99, closed loop', value: closedLatency.quantileMs(0.99), unit: 'ms' },
      { group, name: 'p50 at 2,000/s', value: openLatency.quantileMs(0.5), unit: 'ms' },
      { group, name: 'p99 at 2,000/s', value: openP99Ms, unit: 'ms' },
      { group, name: 'max at 2,000/s', value: openLatency.maxMs, unit: 'ms' },
      {
        group,
        name: 'CPU of the house per read',
        value: cpuUs(closed.cpu.houseMs, closed.result),
        unit: 'µs',
      },
      ...(kind === 'postgres'
        ? [
            {
              group,
              name: 'CPU of PostgreSQL per read',
              value: cpuUs(closed.cpu.databaseMs, closed.result),
              unit: 'µs',
            },
          ]
        : []),
      { group, name: 'answered with 200', value: answered, unit: '' },
      { group, name: 'audit rows', value: audited, unit: '' },
      { group, name: 'bare node:http, unaudited', value: barePerSecond, unit: '/s' },
      {
        group,
        name: 'CPU of node:http per request',
        value: cpuUs(referenceCpuMs, bare),
        unit: 'µs',
      },
      { group, name: 'share of the bare server', value: perSecond / barePerSecond, unit: '' },
      { group, name: 'fdatasync of the disk', value: syncs, unit: '/s' },
      { group, name: 'reads per fdatasync', value: perSecond / syncs, unit: '' },
    ],
    bars: [
      { name: `${on}: audited reads`, value: perSecond, unit: '/s', atLeast: atLeastPerSecond },
      { name: `${on}: p99 at 2,000/s`, value: openP99Ms, unit: 'ms', atMost: p99AtMostMs },
      {
        name: `${on}: answers without an audit row`,
        value: Math.max(0, answered - audited),
        unit: '',
        atMost: 0,
      },
      {
        name: `${on}: audit rows without an answer`,
        // A flush that took too long is answered with 503, and may be on record all the same.
        value: Math.max(0, audited - answered - failed),
        unit: '',
        atMost: 0,
      },
      {
        name: `${on}: failed requests`,
        value: failed,
        unit: '',
        atMost: 0,
      },
    ],
    details: {
      [kind]: {
        database: version,
        auditedRequests: Number(row?.['requests']),
        closed: summaryOf(closed.result),
        closedCpu: closed.cpu,
        open: summaryOf(open.result),
        openCpu: open.cpu,
        reference: summaryOf(bare),
      },
    },
  }
}

/** Warm-up included: the audit does not know what was measured. */
function okOf(result: PlanResult): number {
  return result.statuses['200'] ?? 0
}
