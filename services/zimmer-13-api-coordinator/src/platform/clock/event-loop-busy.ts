/** Whether this thread has little time left, so that work which can wait gives way. */
import { performance } from 'node:perf_hooks'
import type { Clock } from './clock.ts'

const sampleMs = 1_000
/** Above this, answers begin to queue. */
const busyShare = 0.8

/** Sampled when it is asked, at most once a second: between two questions it costs nothing. */
export function createBusyGauge(clock: Clock): () => boolean {
  let sampledAtMs = clock.monotonicMs()
  let before = performance.eventLoopUtilization()
  let busy = false
  return () => {
    const nowMs = clock.monotonicMs()
    if (nowMs - sampledAtMs < sampleMs) return busy
    sampledAtMs = nowMs
    const now = performance.eventLoopUtilization()
    busy = performance.eventLoopUtilization(now, before).utilization > busyShare
    before = now
    return busy
  }
}
