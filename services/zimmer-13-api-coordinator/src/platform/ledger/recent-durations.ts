/** The last durations, for a percentile that follows the present. Bounded: 512 numbers. */
const size = 512

export class RecentDurations {
  readonly #values = new Float64Array(size)
  #count = 0

  add(durationMs: number): void {
    this.#values[this.#count++ % size] = durationMs
  }

  /** 0 while there is none. */
  p99(): number {
    const kept = Math.min(this.#count, size)
    if (kept === 0) return 0
    const sorted = this.#values.slice(0, kept).toSorted()
    return sorted[Math.min(kept - 1, Math.floor(kept * 0.99))] ?? 0
  }
}
