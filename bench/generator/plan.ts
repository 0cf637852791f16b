/** What a load run is told and what it answers: plain JSON, since it crosses a process boundary. */
import type { HistogramSnapshot } from './latency-histogram.ts'

/**
 * A request, sent again and again. `%n%` stands for the number of the request and `%address%`
 * for a loopback address made from it, so that one template gives any number of distinct bodies.
 */
export interface RequestTemplate {
  readonly method: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** Any other status is a failure. */
  readonly expect: number
}

export interface Plan {
  readonly host: string
  readonly port: number
  readonly connections: number
  /**
   * Absent: a closed loop, every connection sends as soon as it has its answer. Given: an open
   * loop, requests fall due at this rate whatever the server does, and latency counts from there.
   */
  readonly ratePerSecond?: number
  /** Sent and answered like the rest, but not measured: both sides compile their hot code first. */
  readonly warmupMs: number
  readonly durationMs: number
  /** The run also ends after this many requests. */
  readonly requestsMax?: number
  readonly answerTimeoutMs: number
  /** Request `n` uses template `n % templates.length`. */
  readonly templates: readonly RequestTemplate[]
  /** The number of the first request; default 0. */
  readonly firstNumber?: number
  /** Reports which numbers were answered as expected. */
  readonly recordAcknowledged?: boolean
}

export interface FailureSample {
  readonly reason: string
  readonly number: number
  /** The first bytes of the answer, if there was one. */
  readonly body: string
}

export interface PlanResult {
  /** Answered as expected within the measured time. */
  readonly completed: number
  readonly measuredMs: number
  readonly latency: HistogramSnapshot
  /** Open loop: how late requests left, because the generator or every connection was busy. */
  readonly lateness: HistogramSnapshot
  /** Every request of the run, warm-up included. */
  readonly sent: number
  readonly answered: number
  readonly statuses: Readonly<Record<string, number>>
  /** By reason: a status that was not expected, a reset, a timeout, bad framing. */
  readonly failures: Readonly<Record<string, number>>
  readonly failed: number
  readonly samples: readonly FailureSample[]
  /** Of the generator itself while measuring: it must not be the limit. */
  readonly generatorCpuMs: number
  /** The number after that of the last request. */
  readonly nextNumber: number
  /** Base64 of a bit per number from `firstNumber`, lowest bit first. */
  readonly acknowledged?: string
}

export type FromGenerator =
  | { readonly type: 'measuring' }
  | { readonly type: 'progress'; readonly answered: number; readonly failed: number }
  | { readonly type: 'measured' }
  | { readonly type: 'result'; readonly result: PlanResult }
  | { readonly type: 'error'; readonly message: string }
