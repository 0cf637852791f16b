/**
 * 500 instances checked every 10 s while a tenth of them hangs: is each check begun when it is due?
 *
 * Lateness is measured twice. From outside: the targets, in a process of their own, note when each
 * address was checked; an instance has one place in every round, so the earliest of its checks shows
 * where that is, and the others are late by what they come after it. And by the house itself, which
 * knows when each was due.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { startCheckTargets, type Arrival, type CheckTargets } from '../check-targets.ts'
import { databaseNames, HouseUnderTest, type DatabaseKind } from '../house-under-test.ts'
import { loopbackAddress } from '../load-generator.ts'
import { cpuMsOf } from '../process-usage.ts'
import type { Bar, BenchContext, Figure, Outcome, Scenario } from '../scenario.ts'

const instances = 500
const hangingShare = 0.1
const intervalSeconds = 10
const instancesPerService = 50
const lateAtMostMs = 1_000
const lagP99AtMostMs = 50
/** What hangs is judged within half a minute, and the house's last minute begins after that. */
const settledAfterUptimeS = 62
const registrationsAtOnce = 16

export const monitor: Scenario = {
  name: 'monitor',
  summary: '500 checks at 10 s, a tenth hanging: how late each begins',
  run,
}

async function run(context: BenchContext): Promise<Outcome> {
  const figures: Figure[] = []
  const bars: Bar[] = []
  const details: Record<string, unknown> = { instances, hangingShare, intervalSeconds }
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
  // A round is 10 s: six of them with the default, so that the last minute is all measurement.
  const measuredS = Math.max(60, seconds * 6)
  progress(`${on}: starting the house`)
  await using targets = await startCheckTargets()
  await using sut = await HouseUnderTest.start(kind)
  progress(`${on}: registering ${instances} instances`)
  await registerAll(sut, targets)
  progress(`${on}: letting those that hang be judged`)
  await untilUptime(sut, settledAfterUptimeS)
  const before = await readingsOf(sut)
  const cpuBefore = sut.cpu()
  const targetsBeforeMs = cpuMsOf([targets.pid])
  await targets.takeArrivals()
  progress(`${on}: measuring for ${measuredS} s`)
  await delay(measuredS * 1_000)
  const arrivals = await targets.takeArrivals()
  const cpuAfter = sut.cpu()
  const targetsMs = cpuMsOf([targets.pid]) - targetsBeforeMs
  const after = await readingsOf(sut)
  const { body: system } = await sut.house.operator.expect(200, 'GET', '/api/health/system')

  const seen = fromOutside(arrivals)
  const begun = after.begun - before.begun
  const lateByOwnCount = begun - (after.begunInTime - before.begunInTime)
  const group = on
  return {
    figures: [
      { group, name: 'checks seen by the targets', value: arrivals.length, unit: '' },
      { group, name: 'checks per second', value: arrivals.length / measuredS, unit: '/s' },
      { group, name: 'offline, of those that hang', value: after.offline, unit: '' },
      { group, name: 'late, p50, seen by the targets', value: seen.p50Ms, unit: 'ms' },
      { group, name: 'late, p99, seen by the targets', value: seen.p99Ms, unit: 'ms' },
      { group, name: 'late, most, seen by the targets', value: seen.maxMs, unit: 'ms' },
      { group, name: 'late, p99, by the house', value: system.monitor.lateP99Ms, unit: 'ms' },
      { group, name: 'event-loop lag, p99', value: system.eventLoopLagMs, unit: 'ms' },
      {
        group,
        name: 'CPU of the house, all it does',
        value: (cpuAfter.houseMs - cpuBefore.houseMs) / measuredS / 10,
        unit: '%',
      },
      { group, name: 'CPU of the targets', value: targetsMs / measuredS / 10, unit: '%' },
    ],
    bars: [
      {
        name: `${on}: most that a check was late`,
        value: seen.maxMs,
        unit: 'ms',
        atMost: lateAtMostMs,
      },
      {
        name: `${on}: later than ${lateAtMostMs} ms, by the house`,
        value: lateByOwnCount,
        unit: '',
        atMost: 0,
      },
      { name: `${on}: checks that never came`, value: seen.missing, unit: '', atMost: 0 },
      {
        name: `${on}: instances that were checked`,
        value: seen.addresses,
        unit: '',
        atLeast: instances,
      },
      {
        name: `${on}: event-loop lag, p99`,
        value: system.eventLoopLagMs,
        unit: 'ms',
        atMost: lagP99AtMostMs,
      },
    ],
    details: { [kind]: { before, after, seen, monitor: system.monitor, measuredS } },
  }
}

async function registerAll(sut: HouseUnderTest, targets: CheckTargets): Promise<void> {
  const numbers = Array.from({ length: instances }, (_, number) => number)
  const work = async (): Promise<void> => {
    for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
      const hangs = number % Math.round(1 / hangingShare) === 0
      await sut.house.operator.expectSoon(201, 'POST', '/api/services/register', {
        name: `checked-${Math.floor(number / instancesPerService)}`,
        version: '1.0.0',
        address: loopbackAddress(number),
        port: hangs ? targets.hangingPort : targets.answeringPort,
        healthEndpoint: '/up',
        healthIntervalSeconds: intervalSeconds,
      })
    }
  }
  await Promise.all(Array.from({ length: registrationsAtOnce }, work))
}

async function untilUptime(sut: HouseUnderTest, uptimeS: number): Promise<void> {
  for (;;) {
    const { body } = await sut.house.operator.expect(200, 'GET', '/api/health/system')
    if (body.uptimeSeconds >= uptimeS) return
    await delay(1_000)
  }
}

interface Readings {
  /** Checks that had a due time. */
  readonly begun: number
  readonly begunInTime: number
  readonly offline: number
}

async function readingsOf(sut: HouseUnderTest): Promise<Readings> {
  const { text } = await sut.house.operator.expect(200, 'GET', '/metrics')
  const sample = (start: string): number =>
    text
      .split('\n')
      .filter((line) => line.startsWith(start))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
  return {
    begun: sample('haus_check_lateness_seconds_count'),
    begunInTime: sample(`haus_check_lateness_seconds_bucket{le="${lateAtMostMs / 1_000}"}`),
    offline: sample('haus_instances{state="offline"'),
  }
}

/** What the targets can tell of lateness: each address against the earliest of its own checks. */
function fromOutside(arrivals: readonly Arrival[]) {
  const intervalMs = intervalSeconds * 1_000
  const byAddress = Map.groupBy(arrivals, ({ address }) => address)
  const lateMs: number[] = []
  let missing = 0
  for (const checks of byAddress.values()) {
    const times = checks.map(({ atMs }) => atMs)
    const first = times[0] ?? 0
    const offsets = times.map((atMs) => {
      const sinceMs = atMs - first
      return sinceMs - Math.round(sinceMs / intervalMs) * intervalMs
    })
    const earliest = Math.min(...offsets)
    for (const offset of offsets) lateMs.push(offset - earliest)
    const rounds = Math.round(((times.at(-1) ?? first) - first) / intervalMs) + 1
    missing += Math.max(0, rounds - times.length)
  }
  const sorted = lateMs.toSorted((a, b) => a - b)
  const quantile = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
  return {
    addresses: byAddress.size,
    missing,
    p50Ms: quantile(0.5),
    p99Ms: quantile(0.99),
    maxMs: sorted.at(-1) ?? Number.NaN,
  }
}
