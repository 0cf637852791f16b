/**
 * Which instances may serve, and which one serves this call.
 *
 * Power of two choices: two instances are drawn in proportion to their weight, and the one with
 * less load serves. The draw is with replacement, because load is as old as the last heartbeat:
 * always avoiding the busier one of a pair would send the whole house to one instance until the
 * next beat. It decides from what it is given; it knows no clock, no view and no evidence.
 */
import type { InstanceState } from '@haus/contract'

/** Load as the last heartbeat told it, 0 to 1; shared with the lease, so that it is never copied. */
export interface Vital {
  load: number
}

export interface Candidate {
  readonly state: InstanceState
  readonly weight: number
  readonly vital: Vital
}

/**
 * From best to last resort. Only the best tier with anybody in it serves: a pending instance is
 * not tried while one is known to work, and a suspect one is better than none.
 */
const tiers: readonly (readonly InstanceState[])[] = [
  ['healthy', 'degraded'],
  ['pending'],
  ['suspect', 'unknown'],
]

/** The place of a state among the tiers; null: it never serves. */
export function tierOf(state: InstanceState): number | null {
  const tier = tiers.findIndex((states) => states.includes(state))
  return tier === -1 ? null : tier
}

/** A degraded instance takes a quarter of its share. */
const healthyShare = 4
const degradedShare = 1

/** Those that serve, in the order given; weight 0 never does. */
export function serving<C extends Candidate>(candidates: readonly C[]): readonly C[] {
  for (const tier of tiers) {
    const found = candidates.filter(({ state, weight }) => weight > 0 && tier.includes(state))
    if (found.length > 0) return found
  }
  return []
}

export interface Balancer {
  /** The place of the pick among the candidates; -1 when there are none. */
  pick(unit: () => number): number
}

export function createBalancer(candidates: readonly Candidate[]): Balancer {
  const count = candidates.length
  if (count < 2) return { pick: () => count - 1 }
  const shares = candidates.map(
    ({ state, weight }) => weight * (state === 'degraded' ? degradedShare : healthyShare),
  )
  const equal = shares.every((share) => share === shares[0])
  const draw = equal
    ? (unit: () => number) => Math.floor(unit() * count)
    : drawByShare(cumulative(shares))
  return {
    pick(unit) {
      const first = draw(unit)
      const second = draw(unit)
      const firstLoad = candidates[first]?.vital.load ?? 0
      const secondLoad = candidates[second]?.vital.load ?? 0
      return secondLoad < firstLoad ? second : first
    },
  }
}

function cumulative(shares: readonly number[]): Float64Array {
  const sums = new Float64Array(shares.length)
  let sum = 0
  shares.forEach((share, place) => {
    sum += share
    sums[place] = sum
  })
  return sums
}

function drawByShare(sums: Float64Array): (unit: () => number) => number {
  const total = sums.at(-1) ?? 0
  return (unit) => {
    const target = unit() * total
    let low = 0
    let high = sums.length - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((sums[middle] ?? total) > target) high = middle
      else low = middle + 1
    }
    return low
  }
}
