/**
 * A load generator over `node:net`, in a process of its own: requests are built beforehand, answers
 * are framed and counted but not read, so that it needs a fraction of what any server under test
 * needs per request (12 µs of CPU per request measured against 30 µs of the barest `node:http`).
 *
 * It knows plain HTTP/1.1 over TCP, one request in flight per connection. No TLS, no redirects, no
 * retries: a failure is a result.
 */
import { fork } from 'node:child_process'
import path from 'node:path'
import { LatencyHistogram, type HistogramSnapshot } from './generator/latency-histogram.ts'
import type { FromGenerator, Plan, PlanResult } from './generator/plan.ts'

export { acknowledgedNumbers } from './generator/run-plan.ts'
export { loopbackAddress } from './generator/render-request.ts'
export { LatencyHistogram }
export type { Plan, PlanResult, RequestTemplate } from './generator/plan.ts'

export interface LoadEvents {
  /** The warm-up is over: CPU times read here and in `onMeasured` fit the result. */
  readonly onMeasuring?: () => void
  readonly onMeasured?: () => void
  /** About once a second. */
  readonly onProgress?: (answered: number, failed: number) => void
  readonly signal?: AbortSignal
}

/** A result for a file that people read: quantiles instead of buckets, no list of numbers. */
export function summaryOf(result: PlanResult): Readonly<Record<string, unknown>> {
  const { latency, lateness, acknowledged: _, ...rest } = result
  return { ...rest, latency: quantilesOf(latency), lateness: quantilesOf(lateness) }
}

function quantilesOf(snapshot: HistogramSnapshot) {
  const histogram = LatencyHistogram.from(snapshot)
  return {
    count: histogram.count,
    meanMs: Number(histogram.meanMs.toFixed(3)),
    p50Ms: histogram.quantileMs(0.5),
    p90Ms: histogram.quantileMs(0.9),
    p99Ms: histogram.quantileMs(0.99),
    p999Ms: histogram.quantileMs(0.999),
    maxMs: histogram.maxMs,
  }
}

/** Beyond what the plan itself allows: starting a process on a busy machine. */
const graceMs = 15_000

export function generateLoad(plan: Plan, events: LoadEvents = {}): Promise<PlanResult> {
  const child = fork(path.join(import.meta.dirname, 'generator/process.ts'), {
    serialization: 'json',
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const limitMs = plan.warmupMs + plan.durationMs + plan.answerTimeoutMs * 2 + graceMs
  return new Promise<PlanResult>((resolve, reject) => {
    const settle = (act: () => void): void => {
      clearTimeout(timer)
      events.signal?.removeEventListener('abort', abort)
      act()
    }
    const fail = (message: string): void => {
      child.kill('SIGKILL')
      settle(() => reject(new Error(message)))
    }
    const abort = (): void => fail('The load run was interrupted')
    const timer = setTimeout(() => fail(`The generator ran past ${limitMs} ms`), limitMs)
    events.signal?.addEventListener('abort', abort)
    child.on('message', (message: FromGenerator) => {
      if (message.type === 'measuring') events.onMeasuring?.()
      else if (message.type === 'measured') events.onMeasured?.()
      else if (message.type === 'progress') events.onProgress?.(message.answered, message.failed)
      else if (message.type === 'result') settle(() => resolve(message.result))
      else fail(`The generator failed: ${message.message}`)
    })
    child.on('exit', (code, signal) => fail(`The generator ended with ${signal ?? code}`))
    child.on('error', (error) => fail(error.message))
    child.send(plan)
  })
}
