/**
 * Who may be probed now: places and pace, for four lanes that cannot starve each other.
 *
 *   urgent    in service and in doubt: the answer decides who gets traffic
 *   routine   the regular round
 *   slow      the last check took a second or longer; it will probably sit in its place again
 *   newcomer  registered, and not seen working yet
 *
 * 64 probes at a time, of which each lane has 8 for itself: fifty services that hang for 5 s, or
 * ten thousand that have just come, do not make a regular check late. Pace is limited besides,
 * since a probe costs this thread about half a millisecond and a crowd of them would be felt by
 * everybody who waits for an answer.
 */
import type { Clock } from '../../platform/clock/clock.ts'

export const lanes = ['urgent', 'routine', 'slow', 'newcomer'] as const
export type Lane = (typeof lanes)[number]

export interface Places {
  /** False when there is none now; true takes one, to be given back. */
  take(lane: Lane): boolean
  giveBack(lane: Lane): void
  /** Milliseconds until there may be one. */
  retryAfterMs(lane: Lane): number
  readonly taken: number
}

export interface PlacesOptions {
  readonly clock: Clock
  /** Regular checks that are due per second, on the average. */
  readonly routineDemand?: () => number
  /** Whether this thread has little time left. */
  readonly busy?: () => boolean
  readonly concurrencyMax?: number
  readonly newcomersPerSecond?: number
  readonly newcomerBurst?: number
}

const concurrencyDefault = 64
/** What starts together in ordinary use: each of them is looked at within its first second. */
const newcomerBurstDefault = 250
/** 6% of this thread, while a crowd that has just come is looked at one after another. */
const newcomersPerSecondDefault = 125
/** While this thread has little time left: who registers in such a crowd waits to be seen, not to be answered. */
const newcomersPerSecondBusy = 50
/** A host with 500 instances that dies is judged within a second or two. */
const urgentPerSecond = 500
/** Enough for 3,000 instances each 30 s, whatever else the thread has to do. */
const routinePerSecondMin = 100
/** A quarter of this thread: 15,000 instances each 30 s. Beyond it the round takes longer. */
const routinePerSecondMax = 500
/** Over the average, so that a round that fell behind catches up. */
const routineReserve = 1.5
/** While the places are taken; whoever gives one back says so at once. */
const placeRetryMs = 1_000

export function createPlaces(options: PlacesOptions): Places {
  const { clock, routineDemand = () => 0, busy = () => false } = options
  const {
    concurrencyMax = concurrencyDefault,
    newcomersPerSecond = newcomersPerSecondDefault,
    newcomerBurst = newcomerBurstDefault,
  } = options
  const ownPlaces = Math.floor(concurrencyMax / 8)
  const taken: Record<Lane, number> = { urgent: 0, routine: 0, slow: 0, newcomer: 0 }
  let takenInAll = 0

  function routinePerSecond(): number {
    if (busy()) return routinePerSecondMin
    const wanted = routineDemand() * routineReserve
    return Math.min(routinePerSecondMax, Math.max(routinePerSecondMin, wanted))
  }

  function newcomersNow(): number {
    return busy() ? Math.min(newcomersPerSecondBusy, newcomersPerSecond) : newcomersPerSecond
  }

  const paces: Record<Lane, Pace> = {
    urgent: createPace(clock, () => urgentPerSecond, urgentPerSecond),
    routine: createPace(clock, routinePerSecond, routinePerSecondMin),
    // Bounded by its places: each is taken for a second at least.
    slow: createPace(clock, () => urgentPerSecond, urgentPerSecond),
    newcomer: createPace(clock, newcomersNow, newcomerBurst),
  }

  function hasPlace(lane: Lane): boolean {
    if (taken[lane] < ownPlaces) return takenInAll < concurrencyMax
    let kept = 0
    for (const other of lanes) if (other !== lane) kept += Math.max(0, ownPlaces - taken[other])
    return takenInAll + kept < concurrencyMax
  }

  return {
    take(lane) {
      if (!hasPlace(lane) || !paces[lane].take()) return false
      taken[lane] += 1
      takenInAll += 1
      return true
    },
    giveBack(lane) {
      taken[lane] -= 1
      takenInAll -= 1
    },
    retryAfterMs: (lane) => (hasPlace(lane) ? paces[lane].retryAfterMs() : placeRetryMs),
    get taken() {
      return takenInAll
    },
  }
}

interface Pace {
  take(): boolean
  retryAfterMs(): number
}

/** A token bucket: `burst` at once, then so many per second. */
function createPace(clock: Clock, perSecond: () => number, burst: number): Pace {
  let tokens = burst
  let filledAtMs = clock.monotonicMs()

  function fill(): void {
    const nowMs = clock.monotonicMs()
    tokens = Math.min(burst, tokens + ((nowMs - filledAtMs) * perSecond()) / 1_000)
    filledAtMs = nowMs
  }

  return {
    take() {
      fill()
      if (tokens < 1) return false
      tokens -= 1
      return true
    },
    retryAfterMs() {
      fill()
      return Math.max(10, Math.ceil(((1 - tokens) * 1_000) / perSecond()))
    },
  }
}
