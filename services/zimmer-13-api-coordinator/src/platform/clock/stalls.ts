/**
 * How long this process itself stood still while somebody waited for an answer.
 *
 * A process that was stopped, starved of CPU or busy with one long task finds its timers due and
 * the answers unread at the same moment. Whoever judges others by a timeout has to take off what
 * was lost here. It ticks only while somebody watches, and it knows of a stall that has not ended
 * yet when it is asked from a timer.
 */
import type { Cancel, Clock } from './clock.ts'

const tickDefaultMs = 100

export interface StallWatch {
  /** Milliseconds lost since the watch began. */
  lostMs(): number
  end(): void
}

export interface Stalls {
  watch(): StallWatch
  /** Monotonic time without all that was lost while somebody watched. */
  attentiveMs(): number
}

/** @param tickMs A tick may be as late again with ordinary work; beyond it answers were waiting. */
export function createStalls(clock: Clock, tickMs = tickDefaultMs): Stalls {
  let watching = 0
  /** In stalls that have ended. */
  let lostBeforeTickMs = 0
  let tickedAtMs = 0
  let cancelTick: Cancel | undefined

  /** With the stall that may be going on. */
  function lostMs(): number {
    const sinceTickMs = watching === 0 ? 0 : clock.monotonicMs() - tickedAtMs
    return lostBeforeTickMs + Math.max(0, sinceTickMs - 2 * tickMs)
  }

  function beginTick(): void {
    tickedAtMs = clock.monotonicMs()
    cancelTick = clock.after(tickMs, tick)
  }

  function tick(): void {
    lostBeforeTickMs = lostMs()
    beginTick()
  }

  return {
    watch() {
      if (watching === 0) beginTick()
      watching += 1
      const lostBeforeMs = lostMs()
      let atEndMs: number | undefined
      return {
        lostMs: () => atEndMs ?? lostMs() - lostBeforeMs,
        end() {
          if (atEndMs !== undefined) return
          atEndMs = lostMs() - lostBeforeMs
          if (watching === 1) {
            lostBeforeTickMs = lostMs()
            cancelTick?.()
          }
          watching -= 1
        },
      }
    },

    attentiveMs: () => clock.monotonicMs() - lostMs(),
  }
}
