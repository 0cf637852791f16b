/**
 * How long to wait before trying again: doubling, bounded, and never in step with the others.
 *
 * The bound is one second, low on purpose. A house is 5 to 200 services, a refused connection
 * costs it nothing while it is away, and everybody is to know the truth within two seconds of its
 * return. Jitter spreads them over half of each wait.
 */
const firstMs = 100
const highestMs = 1_000
/** No answer of the house asks for more than seconds; a wrong header must not silence a service. */
const askedHighestMs = 30_000

export interface Backoff {
  /** Milliseconds; never less than what the other side has asked for. */
  next(askedMs?: number): number
  reset(): void
}

/** `unit` gives numbers from 0 to below 1. */
export function createBackoff(unit: () => number): Backoff {
  let capMs = firstMs
  return {
    next(askedMs = 0) {
      const ownMs = capMs / 2 + unit() * (capMs / 2)
      capMs = Math.min(capMs * 2, highestMs)
      if (askedMs <= ownMs) return ownMs
      return Math.min(askedMs, askedHighestMs) + unit() * firstMs
    },
    reset() {
      capMs = firstMs
    },
  }
}
