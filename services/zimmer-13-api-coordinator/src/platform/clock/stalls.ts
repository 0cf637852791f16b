/**
 * How long this process itself stood still while somebody waited for an answer.
 *
 * A process that was stopped, starved of CPU or busy with one long task finds its timers due and
 * the answers unread at the same moment. Whoever judges others by a timeout has to take off what
 * was lost here. It ticks only while somebody watches, and it knows of a stall that has not ended
 * yet when it is asked from a timer.
 */
import type { Cancel, Clock } from './clock.ts'

const tickMs = 100
/** Lateness up to this is ordinary work; beyond it answers were waiting for us. */
const toleranceMs = 100

export interface StallWatch {
  /** Milliseconds lost since the watch began. */
  lostMs(): number
  end(): void
}

export interface Stalls {
  watch(): StallWatch
}

export function createStalls(clock: Clock): Stalls {
  let watching = 0
  let lostMs = 0
  let tickedAtMs = 0
  let cancelTick: Cancel | undefined

  /** Counts the gap that is open now, once. */
  function settle(): void {
    const nowMs = clock.monotonicMs()
    const lateMs = nowMs - tickedAtMs - tickMs
    if (lateMs <= toleranceMs) return
    lostMs += lateMs
    tickedAtMs = nowMs
  }

  function tick(): void {
    settle()
    tickedAtMs = clock.monotonicMs()
    cancelTick = clock.after(tickMs, tick)
  }

  return {
    watch() {
      if (watching === 0) {
        tickedAtMs = clock.monotonicMs()
        cancelTick = clock.after(tickMs, tick)
      } else {
        settle()
      }
      watching += 1
      const lostBeforeMs = lostMs
      let atEndMs: number | undefined
      const lostSince = (): number => {
        settle()
        return lostMs - lostBeforeMs
      }
      return {
        lostMs: () => atEndMs ?? lostSince(),
        end() {
          if (atEndMs !== undefined) return
          atEndMs = lostSince()
          watching -= 1
          if (watching === 0) cancelTick?.()
        },
      }
    },
  }
}
