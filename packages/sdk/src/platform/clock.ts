/**
 * Time as an argument, so that tests move it and clock jumps cannot change a decision: everything
 * that waits or expires uses `monotonicMs`; `now` is only shown, stored or compared with `exp`.
 *
 * Timers keep the process alive, as an open server does: a program that waits for its house must
 * not end because nothing else holds it. Whoever starts one cancels it.
 */
export interface Clock {
  /** Wall time. */
  now(): Date
  /** Milliseconds since an arbitrary start; never goes back. */
  monotonicMs(): number
  /** Runs `task` once after `delayMs`. */
  after(delayMs: number, task: () => void): Cancel
}

export type Cancel = () => void

export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
  after(delayMs, task) {
    const timer = setTimeout(task, delayMs)
    return () => clearTimeout(timer)
  },
}

/** Resolves after `delayMs`, or at once when `signal` ends; it never rejects. */
export function pause(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve()
      return
    }
    const done = (): void => {
      cancel()
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const cancel = clock.after(delayMs, done)
    signal?.addEventListener('abort', done, { once: true })
  })
}
