/** What the monitor says of its own work: how much, how late, with which results. Bounded. */
import type { Clock } from '../../platform/clock/clock.ts'
import type { Finding, FindingKind } from './probe.ts'

/** Upper bounds in ms: a service on the same machine, on the same network, one that is slow, the timeout. */
const durationBoundsMs = [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000] as const
const latenessBoundsMs = [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 30_000] as const
const recentMax = 2_048
const rateWindowSeconds = 60

export interface Distribution {
  readonly boundsMs: readonly number[]
  /** One more than there are bounds. */
  readonly counts: readonly number[]
  readonly sumMs: number
}

export interface CheckStatistics {
  /** `lateMs` null: nobody had it on a plan, such as the first look of a registration. */
  add(finding: Finding, lateMs: number | null): void
  /** Since the start. */
  readonly outcomes: Readonly<Record<FindingKind, number>>
  readonly durations: Distribution
  readonly lateness: Distribution
  /** Over the last minute, or over the time since the start if that is less. */
  perSecond(): number
  /** Of the last 2,048 that were on a plan. */
  lateP99Ms(): number
}

export function createCheckStatistics(clock: Clock): CheckStatistics {
  const outcomes: Record<FindingKind, number> = {
    passed: 0,
    ailing: 0,
    refused: 0,
    timeout: 0,
    failed: 0,
    unjudged: 0,
  }
  const durations = createDistribution(durationBoundsMs)
  const lateness = createDistribution(latenessBoundsMs)
  const recent = new Float64Array(recentMax)
  let planned = 0
  let lateP99Ms = 0
  let sortedAtSecond = -1
  const startedSecond = secondNow()
  const perSecond = new Uint32Array(rateWindowSeconds)
  let second = startedSecond

  function secondNow(): number {
    return Math.floor(clock.monotonicMs() / 1_000)
  }

  /** Empties the seconds in which nothing happened. */
  function moveOn(): void {
    const now = secondNow()
    const passed = Math.min(rateWindowSeconds, now - second)
    for (let step = 1; step <= passed; step++)
      perSecond[(now - passed + step) % rateWindowSeconds] = 0
    second = now
  }

  return {
    add({ kind, latencyMs }, lateMs) {
      outcomes[kind] += 1
      durations.add(latencyMs)
      moveOn()
      const slot = second % rateWindowSeconds
      perSecond[slot] = (perSecond[slot] ?? 0) + 1
      if (lateMs === null) return
      lateness.add(lateMs)
      recent[planned++ % recentMax] = lateMs
    },
    outcomes,
    durations,
    lateness,
    perSecond() {
      moveOn()
      const seconds = Math.min(rateWindowSeconds, second - startedSecond + 1)
      return round(perSecond.reduce((sum, count) => sum + count, 0) / seconds)
    },
    lateP99Ms() {
      // Anybody with a token may ask, as often as he likes; sorting takes a tenth of a millisecond.
      if (secondNow() !== sortedAtSecond) {
        sortedAtSecond = secondNow()
        const kept = Math.min(planned, recentMax)
        const sorted = recent.slice(0, kept).toSorted()
        lateP99Ms = round(sorted[Math.min(kept - 1, Math.floor(kept * 0.99))] ?? 0)
      }
      return lateP99Ms
    },
  }
}

function createDistribution(boundsMs: readonly number[]) {
  const counts = Array.from({ length: boundsMs.length + 1 }, () => 0)
  return {
    boundsMs,
    counts,
    sumMs: 0,
    add(valueMs: number) {
      let place = 0
      while (place < boundsMs.length && valueMs > (boundsMs[place] ?? 0)) place += 1
      counts[place] = (counts[place] ?? 0) + 1
      this.sumMs += valueMs
    },
  }
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
