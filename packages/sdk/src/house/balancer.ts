/**
 * Which of several instances serves the next call, decided here with what only this process
 * knows: how much it has under way at each, and which one has just refused it.
 *
 * Power of two choices: two are drawn in proportion to their weight, and the one with less under
 * way for its weight serves. One that refused is left alone for a while, longer each time; when
 * all of them did, all are tried again, since an answer is better than none.
 */
import type { DiscoveredInstance, StaticOf } from '@haus/contract'
import type { Clock } from '../platform/clock.ts'

export type Found = StaticOf<typeof DiscoveredInstance>

/** An instance for one call. `using` gives it back; so does `[Symbol.dispose]()`. */
export interface Picked extends Disposable {
  readonly id: string
  readonly address: string
  readonly port: number
  readonly scheme: Found['scheme']
  /** Null for `tcp`. */
  readonly url: string | null
  readonly version: string
  readonly zone: string | null
  readonly tags: readonly string[]
  readonly metadata: Readonly<Record<string, string>>
  /** It refused, reset, or did not answer: take others for a while. */
  failed(): void
}

export interface Balancer {
  pick(candidates: readonly Found[]): Picked | undefined
  /** Instances that nobody has heard of any more. */
  keepOnly(ids: ReadonlySet<string>): void
}

interface Standing {
  underWay: number
  failures: number
  avoidUntilMs: number
}

/** A degraded instance takes a quarter of its share, as at the house. */
const degradedShare = 0.25
const avoidFirstMs = 1_000
/** By then the house has long looked at it itself. */
const avoidHighestMs = 30_000

export function createBalancer(clock: Clock, unit: () => number): Balancer {
  const standings = new Map<string, Standing>()

  function standingOf(id: string): Standing {
    const known = standings.get(id)
    if (known) return known
    const fresh = { underWay: 0, failures: 0, avoidUntilMs: 0 }
    standings.set(id, fresh)
    return fresh
  }

  function shareOf({ weight, health }: Found): number {
    return weight * (health === 'degraded' ? degradedShare : 1)
  }

  function draw(candidates: readonly Found[]): Found | undefined {
    const total = candidates.reduce((sum, candidate) => sum + shareOf(candidate), 0)
    let target = unit() * total
    for (const candidate of candidates) {
      target -= shareOf(candidate)
      if (target < 0) return candidate
    }
    return candidates.at(-1)
  }

  function costOf(candidate: Found): number {
    return (standingOf(candidate.id).underWay + 1) / Math.max(shareOf(candidate), 0.01)
  }

  return {
    pick(candidates) {
      const nowMs = clock.monotonicMs()
      const usable = candidates.filter(({ id }) => standingOf(id).avoidUntilMs <= nowMs)
      const among = usable.length > 0 ? usable : candidates
      const first = draw(among)
      if (!first) return undefined
      const second = draw(among.filter((candidate) => candidate !== first)) ?? first
      const chosen = costOf(second) < costOf(first) ? second : first
      const standing = standingOf(chosen.id)
      standing.underWay += 1
      let over = false
      let failed = false
      const { id, address, port, scheme, url, version, zone, tags, metadata } = chosen
      return {
        ...{ id, address, port, scheme, url, version, zone, tags, metadata },
        failed() {
          if (failed || over) return
          failed = true
          const waitMs = Math.min(avoidFirstMs * 2 ** standing.failures, avoidHighestMs)
          standing.failures += 1
          standing.avoidUntilMs = clock.monotonicMs() + waitMs
        },
        [Symbol.dispose]() {
          if (over) return
          over = true
          standing.underWay -= 1
          if (!failed) standing.failures = 0
        },
      }
    },

    keepOnly(ids) {
      for (const [id, { underWay }] of standings) {
        if (underWay === 0 && !ids.has(id)) standings.delete(id)
      }
    },
  }
}
