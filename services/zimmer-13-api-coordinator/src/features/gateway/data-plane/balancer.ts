/**
 * Which instance serves this request: of two, drawn by their share, the one with less to do.
 *
 * What an instance has to do is what is in flight there, against its share, times how long answers
 * take. Two that are much alike are not told apart by it: the draw decides, so that a quiet service
 * is spread over its instances instead of following the noise of its clock.
 */
import type { Instance } from './instance.ts'
import type { Service } from './service.ts'

/** Connections of one instance, and so what is in flight there. */
export const instanceInFlightMax = 256
/** One has to be better by this much to win against the draw. */
const clearlyLess = 0.7
/**
 * An instance with nothing to do is tried now and then whatever it was like before: one that was
 * slow once would otherwise hear of nothing until that is forgotten. It is one request at a time.
 */
const triedAnyway = 0.25

export type NoInstance = 'none' | 'circuit_open' | 'full'

/** Used again for every request; a request never waits while it is in use. */
const open: Instance[] = []

/**
 * From the best tier in which breakers leave anybody. `without`: where this request has been tried
 * already.
 */
export function pickInstance(
  service: Service,
  without: Instance | null,
  nowMs: number,
  unit: () => number,
): Instance | NoInstance {
  let picked: Instance | NoInstance = 'none'
  let tier = service.bestTier(nowMs, without)
  while (tier !== null) {
    picked = pickOfTier(service, tier, without, nowMs, unit)
    if (picked !== 'circuit_open') return picked
    tier = service.bestTier(nowMs, without, tier)
  }
  return picked
}

function pickOfTier(
  service: Service,
  tier: number,
  without: Instance | null,
  nowMs: number,
  unit: () => number,
): Instance | NoInstance {
  const { instances } = service
  open.length = 0
  let inTier = 0
  let allowed = 0
  for (let place = 0; place < instances.length; place++) {
    const instance = instances[place]
    if (instance === undefined || instance === without || instance.tier(nowMs) !== tier) continue
    inTier += 1
    if (!instance.breaker.allows(nowMs)) continue
    allowed += 1
    if (instance.inFlight < instanceInFlightMax) open.push(instance)
  }
  // With more than half of them ejected the fault is rarely theirs: breakers are ignored.
  service.panic = without === null ? inTier > 1 && allowed * 2 < inTier : service.panic
  if (service.panic && allowed * 2 < inTier) {
    open.length = 0
    for (let place = 0; place < instances.length; place++) {
      const instance = instances[place]
      if (instance === undefined || instance === without || instance.tier(nowMs) !== tier) continue
      if (instance.inFlight < instanceInFlightMax) open.push(instance)
    }
    allowed = inTier
  }
  const [first] = open
  if (first === undefined) return allowed === 0 ? 'circuit_open' : 'full'
  return open.length === 1 ? first : lesserOfTwo(first, nowMs, unit)
}

function lesserOfTwo(fallback: Instance, nowMs: number, unit: () => number): Instance {
  let sum = 0
  for (let place = 0; place < open.length; place++) sum += open[place]?.share(nowMs) ?? 0
  const first = draw(unit() * sum, null, nowMs) ?? fallback
  const firstShare = first.share(nowMs)
  const second = draw(unit() * (sum - firstShare), first, nowMs)
  if (second === null) return first
  if (first.inFlight === 0 && unit() < triedAnyway) return first
  const mean = sum / open.length
  const firstLatency = first.latencyMs(nowMs)
  const secondLatency = second.latencyMs(nowMs)
  // Where nothing is known of one, time cannot decide.
  const timed = first.measured && second.measured
  const firstCost =
    (first.inFlight * (mean / firstShare) + 1) * (timed ? Math.max(firstLatency, 0.1) : 1)
  const secondCost =
    (second.inFlight * (mean / second.share(nowMs)) + 1) *
    (timed ? Math.max(secondLatency, 0.1) : 1)
  return secondCost < firstCost * clearlyLess ? second : first
}

function draw(target: number, not: Instance | null, nowMs: number): Instance | null {
  let left = target
  let last: Instance | null = null
  for (let place = 0; place < open.length; place++) {
    const instance = open[place]
    if (instance === undefined || instance === not) continue
    last = instance
    left -= instance.share(nowMs)
    if (left < 0) return instance
  }
  return last
}
