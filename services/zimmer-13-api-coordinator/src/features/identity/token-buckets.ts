/**
 * Token buckets by key, on the monotonic clock, in bounded memory.
 *
 * Forgetting a bucket refills it, so an attacker who invents keys gains nothing that he would not
 * have with fresh ones; what he shares with himself, his address, is limited by a bucket of its own.
 */
import type { Clock } from '../../platform/clock/clock.ts'
import { Lru } from '../../platform/cache/lru.ts'

export interface BucketLimits {
  readonly burst: number
  readonly perSecond: number
}

/** At some 250 bytes an entry with the longest key, 2 MB. */
const capacity = 8_192

interface Bucket {
  left: number
  atMs: number
}

export class TokenBuckets {
  readonly #clock: Clock
  readonly #limits: BucketLimits
  readonly #buckets = new Lru<Bucket>(capacity)

  constructor(clock: Clock, limits: BucketLimits) {
    this.#clock = clock
    this.#limits = limits
  }

  /** Takes one. @returns 0, or the seconds until there is one to take. */
  take(key: string): number {
    const { burst, perSecond } = this.#limits
    const nowMs = this.#clock.monotonicMs()
    const bucket = this.#buckets.get(key) ?? { left: burst, atMs: nowMs }
    bucket.left = Math.min(burst, bucket.left + ((nowMs - bucket.atMs) / 1_000) * perSecond)
    bucket.atMs = nowMs
    this.#buckets.set(key, bucket)
    if (bucket.left < 1) return (1 - bucket.left) / perSecond
    bucket.left -= 1
    return 0
  }

  get size(): number {
    return this.#buckets.size
  }
}

/**
 * The part of an address that its owner cannot change at will: all of IPv4, the /64 of IPv6, of
 * which every host has 2^64 addresses to attack from.
 */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address
  const [head = '', tail] = address.split('%')[0]?.split('::') ?? []
  const groups = head === '' ? [] : head.split(':')
  if (tail !== undefined) {
    const rest = tail === '' ? 0 : tail.split(':').length + (tail.includes('.') ? 1 : 0)
    while (groups.length + rest < 8) groups.push('0')
    if (tail !== '') groups.push(...tail.split(':'))
  }
  return `${groups
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, '').toLowerCase())
    .join(':')}::/64`
}
