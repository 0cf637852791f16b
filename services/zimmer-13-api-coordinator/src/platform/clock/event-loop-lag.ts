/** How long the event loop keeps callbacks waiting: the first thing to look at when answers are slow. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Clock } from './clock.ts'

/** Finer costs more wake-ups; 20 ms sees what a person or a health check would notice. */
const resolutionMs = 20
const windowMs = 60_000

export interface EventLoopLag {
  /** 99th percentile of the last minute, in ms. */
  p99Ms(): number
  stop(): void
}

export function measureEventLoopLag(clock: Clock): EventLoopLag {
  const delay = monitorEventLoopDelay({ resolution: resolutionMs })
  delay.enable()
  // Two half-filled windows would forget at their change: the last full one is kept beside.
  let lastWindowMs = 0
  const current = (): number =>
    delay.count === 0 ? 0 : Math.max(0, delay.percentile(99) / 1e6 - resolutionMs)
  const turn = (): void => {
    lastWindowMs = current()
    delay.reset()
    cancel = clock.after(windowMs, turn)
  }
  let cancel = clock.after(windowMs, turn)
  return {
    p99Ms: () => Math.round(Math.max(lastWindowMs, current()) * 10) / 10,
    stop() {
      cancel()
      delay.disable()
    },
  }
}
