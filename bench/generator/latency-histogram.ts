/**
 * Latencies in log-linear buckets: one pass, fixed memory, at most 1.6 % off at any height.
 *
 * Values are whole microseconds. Those below 128 have a bucket each; above, every doubling is cut
 * into 64 parts. A mean is kept beside the buckets, exact. There is no standard deviation: nobody
 * should judge a latency by it.
 */

const linear = 128
const parts = 64
/** 2^36 µs are 19 hours: nothing that is bounded in time gets there. */
const doublings = 29
const bucketCount = linear + doublings * parts

/** Sparse, for the way between processes: bucket, count, bucket, count. */
export interface HistogramSnapshot {
  readonly pairs: readonly number[]
  readonly sumUs: number
  readonly maxUs: number
}

export class LatencyHistogram {
  readonly #counts = new Float64Array(bucketCount)
  #count = 0
  #sumUs = 0
  #maxUs = 0

  static from(snapshot: HistogramSnapshot): LatencyHistogram {
    const histogram = new LatencyHistogram()
    histogram.merge(snapshot)
    return histogram
  }

  get count(): number {
    return this.#count
  }

  get maxMs(): number {
    return this.#maxUs / 1000
  }

  get meanMs(): number {
    return this.#count === 0 ? 0 : this.#sumUs / this.#count / 1000
  }

  recordMs(durationMs: number): void {
    const us = Math.max(0, Math.round(durationMs * 1000))
    const bucket = bucketOf(us)
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1
    this.#count += 1
    this.#sumUs += us
    if (us > this.#maxUs) this.#maxUs = us
  }

  /** The upper edge of the bucket that holds the quantile: never better than the truth. */
  quantileMs(quantile: number): number {
    if (this.#count === 0) return 0
    const rank = Math.max(1, Math.ceil(quantile * this.#count))
    let seen = 0
    for (let bucket = 0; bucket < bucketCount; bucket += 1) {
      seen += this.#counts[bucket] ?? 0
      if (seen >= rank) return Math.min(upperEdgeUs(bucket), this.#maxUs) / 1000
    }
    return this.maxMs
  }

  snapshot(): HistogramSnapshot {
    const pairs: number[] = []
    this.#counts.forEach((count, bucket) => {
      if (count > 0) pairs.push(bucket, count)
    })
    return { pairs, sumUs: this.#sumUs, maxUs: this.#maxUs }
  }

  merge(snapshot: HistogramSnapshot): void {
    for (let place = 0; place + 1 < snapshot.pairs.length; place += 2) {
      const bucket = snapshot.pairs[place] ?? 0
      const count = snapshot.pairs[place + 1] ?? 0
      this.#counts[bucket] = (this.#counts[bucket] ?? 0) + count
      this.#count += count
    }
    this.#sumUs += snapshot.sumUs
    this.#maxUs = Math.max(this.#maxUs, snapshot.maxUs)
  }
}

function bucketOf(us: number): number {
  if (us < linear) return us
  const doubling = Math.min(doublings - 1, Math.floor(Math.log2(us / linear)))
  const step = linear * 2 ** doubling
  const part = Math.min(parts - 1, Math.floor(((us - step) / step) * parts))
  return linear + doubling * parts + part
}

function upperEdgeUs(bucket: number): number {
  if (bucket < linear) return bucket
  const doubling = Math.floor((bucket - linear) / parts)
  const part = (bucket - linear) % parts
  const step = linear * 2 ** doubling
  return step + Math.ceil(((part + 1) / parts) * step) - 1
}
