/**
 * Time as an argument, so that tests move it and clock jumps cannot change a decision:
 * everything that waits or expires uses `monotonicMs`; `now` is only ever shown or stored.
 */
export interface Clock {
  /** Wall time. For records and for `exp` in tokens; never for measuring. */
  now(): Date
  /** Milliseconds since an arbitrary start; never goes back. */
  monotonicMs(): number
  /** Runs `task` once after `delayMs`. The timer does not keep the process alive. */
  after(delayMs: number, task: () => void): Cancel
}

export type Cancel = () => void

export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
  after(delayMs, task) {
    const timer = setTimeout(task, delayMs)
    timer.unref()
    return () => clearTimeout(timer)
  },
}
