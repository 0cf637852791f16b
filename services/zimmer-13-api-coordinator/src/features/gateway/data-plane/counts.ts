/** What is counted of a service, in plain arrays: a label text per request would cost more than the count. */
import { durationBoundsMs } from '../messages.ts'

export class Counts {
  readonly upstream = [0, 0, 0, 0, 0]
  readonly gateway = [0, 0, 0, 0, 0]
  readonly durations: number[] = [...durationBoundsMs, 0].map(() => 0)
  durationSumMs = 0
  retries = 0
  ejections = 0
  requestBytes = 0
  answerBytes = 0

  count(status: number, byGateway: boolean, durationMs: number): void {
    const place = statusClass(status)
    const answers = byGateway ? this.gateway : this.upstream
    answers[place] = (answers[place] ?? 0) + 1
    let bound = 0
    while (bound < durationBoundsMs.length && durationMs > (durationBoundsMs[bound] ?? 0))
      bound += 1
    this.durations[bound] = (this.durations[bound] ?? 0) + 1
    this.durationSumMs += durationMs
  }

  get requests(): number {
    return sum(this.upstream) + sum(this.gateway)
  }
}

/** 0 for 1xx to 4 for 5xx. */
export function statusClass(status: number): number {
  return Math.min(4, Math.max(0, Math.floor(status / 100) - 1))
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
