/**
 * Durations of answered requests, by operation and class of status.
 *
 * Counted in plain arrays: prom-client makes a text of the labels for every observation (750 to
 * 1,000 ns measured, against 20 ns here), and a discovery read has no time for that. The operations
 * are those of the catalogue, so that no caller can add a series.
 */

/** Upper bounds in ms; a read from memory takes less than the first, a client gives up before the last. */
const boundsMs = [0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000]
const classes = ['1xx', '2xx', '3xx', '4xx', '5xx']

const name = 'haus_http_request_duration_seconds'

interface Row {
  readonly counts: number[]
  sumMs: number
}

export interface RequestDurations {
  observe(operation: string, status: number, durationMs: number): void
  /** In the text exposition format. */
  text(): string
}

export function createRequestDurations(operations: readonly string[]): RequestDurations {
  const rows = new Map<string, Row[]>()
  for (const operation of [...operations, 'none']) {
    rows.set(
      operation,
      classes.map(() => ({ counts: boundsMs.map(() => 0).concat(0), sumMs: 0 })),
    )
  }

  return {
    observe(operation, status, durationMs) {
      const row = rows.get(operation)?.[Math.floor(status / 100) - 1]
      if (row === undefined) return
      let place = 0
      while (place < boundsMs.length && durationMs > (boundsMs[place] ?? 0)) place += 1
      row.counts[place] = (row.counts[place] ?? 0) + 1
      row.sumMs += durationMs
    },

    text() {
      const lines = [
        `# HELP ${name} Time from the head of a request to the last byte of its answer; a stream counts when it ends.`,
        `# TYPE ${name} histogram`,
      ]
      for (const [operation, classRows] of rows) {
        for (const [place, { counts, sumMs }] of classRows.entries()) {
          const total = counts.reduce((sum, count) => sum + count, 0)
          // Series that never were are left out: there would be 2,500 of them.
          if (total === 0) continue
          const labels = `operation="${operation}",status="${classes[place] ?? ''}"`
          let below = 0
          for (const [bucket, count] of counts.entries()) {
            below += count
            const bound = boundsMs[bucket]
            const le = bound === undefined ? '+Inf' : String(bound / 1000)
            lines.push(`${name}_bucket{${labels},le="${le}"} ${below}`)
          }
          lines.push(`${name}_sum{${labels}} ${sumMs / 1000}`, `${name}_count{${labels}} ${total}`)
        }
      }
      return `${lines.join('\n')}\n`
    },
  }
}
