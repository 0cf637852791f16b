/**
 * Time in which this thread could listen.
 *
 * A limit on how long others may take must not run while nobody here can read their answer: a burst
 * of first requests keeps a cold thread busy for 200 ms, and what the database said meanwhile would
 * count as late. A turn of the event loop counts for 40 ms at most, however long it took.
 */
import type { Clock } from './clock.ts'
import { createStalls } from './stalls.ts'

export type AttentiveClock = Pick<Clock, 'monotonicMs' | 'after'>

/** Half of what a turn counts for at most: a pause of the garbage collector is shorter. */
const tickMs = 20

/** It leaves out stalls only while a timer of its own is pending. */
export function createAttentiveClock(clock: Clock): AttentiveClock {
  const stalls = createStalls(clock, tickMs)
  return {
    monotonicMs: stalls.attentiveMs,

    after(delayMs, task) {
      const watch = stalls.watch()
      const dueMs = stalls.attentiveMs() + delayMs
      const ring = (): void => {
        const leftMs = dueMs - stalls.attentiveMs()
        // The system's timers come up to a millisecond early.
        if (leftMs > 1) {
          cancel = clock.after(leftMs, ring)
          return
        }
        watch.end()
        task()
      }
      let cancel = clock.after(delayMs, ring)
      return () => {
        cancel()
        watch.end()
      }
    },
  }
}
