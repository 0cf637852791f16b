/** What a scenario gets and gives. Scenarios measure; `run.ts` prints, judges and writes down. */
import type { DatabaseKind } from './house-under-test.ts'

export interface Figure {
  /** Figures of one group are printed together. */
  readonly group: string
  readonly name: string
  readonly value: number
  readonly unit: string
}

export interface Bar {
  readonly name: string
  readonly value: number
  readonly unit: string
  readonly atLeast?: number
  readonly atMost?: number
}

export interface Outcome {
  readonly figures: readonly Figure[]
  readonly bars: readonly Bar[]
  /** Everything behind the figures, for the results file: every single run. */
  readonly details: Readonly<Record<string, unknown>>
}

export interface BenchContext {
  /** Length of the scenario's main measurement. */
  readonly seconds: number
  readonly databases: readonly DatabaseKind[]
  /** What is being done now; overwritten by the next on a terminal. */
  progress(text: string): void
}

export interface Scenario {
  readonly name: string
  readonly summary: string
  run(context: BenchContext): Promise<Outcome>
}

export function isMet(bar: Bar): boolean {
  const { value, atLeast = -Infinity, atMost = Infinity } = bar
  return value >= atLeast && value <= atMost
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}
