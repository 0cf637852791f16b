/** Times for people: how long ago, in the largest unit that fits. Programs get the exact time. */

const units: readonly (readonly [name: string, seconds: number])[] = [
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
]

/** Two of a unit before it is used: `90 min` says more than `2 h`. */
export function durationText(seconds: number): string {
  for (const [name, size] of units) {
    if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${name}`
  }
  return `${Math.max(0, Math.round(seconds))} s`
}

/** `-` for no time at all. */
export function relativeTime(time: string | null, nowMs: number): string {
  if (time === null) return '-'
  const atMs = Date.parse(time)
  if (Number.isNaN(atMs)) return time
  const seconds = (nowMs - atMs) / 1000
  // Two clocks are never quite the same: a moment ahead is now.
  if (Math.abs(seconds) < 1) return 'now'
  return seconds > 0 ? `${durationText(seconds)} ago` : `in ${durationText(-seconds)}`
}

const secondsOf: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 }

/** `90s`, `10m`, `2h`, `7d`, `4w`; undefined for anything else. */
export function parseDurationSeconds(text: string): number | undefined {
  const match = /^(\d{1,6})([smhdw])$/.exec(text)
  const unit = secondsOf[match?.[2] ?? '']
  return match === null || unit === undefined ? undefined : Number(match[1]) * unit
}

/** RFC 3339 or a plain date (in UTC); undefined for anything else. */
export function parseTimeMs(text: string): number | undefined {
  const form = /^\d{4}-\d{2}-\d{2}([Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-]\d{2}:\d{2}))?$/
  if (!form.test(text)) return undefined
  const ms = Date.parse(text.replace(' ', 'T'))
  return Number.isNaN(ms) ? undefined : ms
}
