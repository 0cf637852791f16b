/**
 * What is remembered of one instance: its last checks, and how much of the last day it was up.
 *
 * Uptime is time and not a count of checks, because a doubt is probed three times in 600 ms and
 * would weigh as much as a minute. The time between two checks counts for what the first of them
 * found; beyond two intervals nobody looked (maintenance, or Haus itself was away), and it counts
 * for nobody. Hours are those of the wall clock, which is only shown: a clock that jumped moves
 * figures and changes no decision.
 */
export interface CheckResult {
  readonly at: string
  readonly ok: boolean
  readonly latencyMs: number
  readonly reason: string | null
}

export interface NewCheck {
  readonly wallMs: number
  readonly monotonicMs: number
  readonly ok: boolean
  readonly latencyMs: number
  readonly reason: string | null
  readonly intervalMs: number
}

const hourMs = 3_600_000
/** The hour that runs, and 24 before it. */
const hoursKept = 25
/** Different reasons among the kept checks; a status is one, so more is somebody who plays with them. */
const textsMax = 32
const textOfTheRest = 'for another reason'
const formatVersion = 1
/** A result is one small integer: its latency in tenths of a millisecond, and 128 codes. */
const codesMax = 128
/** 100 s, beyond any timeout. */
const latencyMaxTenths = 1_000_000
/** Of an hour: its number since 1970, seconds observed, seconds up. */
const hourFields = 3

export class CheckRecord {
  /** Numbers side by side and not objects, which took twice the memory. Oldest first. */
  #times: number[] = []
  /** Latency and code; the code is twice the place of the text, plus one if it passed. Text 0 is none. */
  #findings: number[] = []
  #texts: string[] = ['']
  #hours: number[] = []
  #lastFailure: { readonly reason: string; readonly atMs: number } | null = null
  #previous: { readonly monotonicMs: number; readonly ok: boolean } | null = null
  /** Results that are nowhere but here. */
  unwritten = 0

  get size(): number {
    return this.#times.length
  }

  /** Returns how many results made room that nobody had written. */
  add(check: NewCheck, keep: number): number {
    const { wallMs, monotonicMs, ok, latencyMs, reason, intervalMs } = check
    this.#times.push(wallMs)
    const tenths = Math.min(latencyMaxTenths, Math.round(latencyMs * 10))
    const code = 2 * this.#placeOf(reason) + (ok ? 1 : 0)
    this.#findings.push(tenths * codesMax + code)
    if (!ok) this.#lastFailure = { reason: reason ?? textOfTheRest, atMs: wallMs }
    if (this.#previous) {
      const spanMs = Math.min(monotonicMs - this.#previous.monotonicMs, 2 * intervalMs)
      this.#count(Math.floor(wallMs / hourMs), spanMs / 1_000, this.#previous.ok)
    }
    this.#previous = { monotonicMs, ok }
    this.unwritten += 1
    const surplus = this.size - keep
    if (surplus > 0) {
      this.#times = this.#times.slice(surplus)
      this.#findings = this.#findings.slice(surplus)
    }
    const dropped = Math.max(0, this.unwritten - this.size)
    this.unwritten -= dropped
    return dropped
  }

  /** The newest first. */
  results(): CheckResult[] {
    return this.#times.map((_, place) => this.#result(place)).toReversed()
  }

  last(): CheckResult | null {
    return this.size === 0 ? null : this.#result(this.size - 1)
  }

  lastFailure(): { readonly reason: string; readonly at: string } | null {
    const last = this.#lastFailure
    return last && { reason: last.reason, at: new Date(last.atMs).toISOString() }
  }

  /** Of the last 24 full hours and the one that runs. */
  day(wallMs: number): { readonly observedSeconds: number; readonly uptime: number | null } {
    const now = Math.floor(wallMs / hourMs)
    let observed = 0
    let up = 0
    for (let place = 0; place < this.#hours.length; place += hourFields) {
      const hour = this.#hours[place] ?? 0
      if (hour > now || hour <= now - hoursKept) continue
      observed += this.#hours[place + 1] ?? 0
      up += this.#hours[place + 2] ?? 0
    }
    const uptime = observed === 0 ? null : Math.round((up / observed) * 1e5) / 1e5
    return { observedSeconds: Math.round(observed), uptime }
  }

  /** 1.8 KB for a hundred checks, which fits a row without compression: times are told as differences. */
  encode(): string {
    const firstHour = this.#hours[0] ?? 0
    const times = this.#times.map((time, place) =>
      place === 0 ? time : time - (this.#times[place - 1] ?? 0),
    )
    return JSON.stringify({
      v: formatVersion,
      t: times,
      r: this.#findings,
      x: this.#texts.slice(1),
      b: firstHour,
      h: this.#hours.map((value, place) =>
        place % hourFields === 0 ? value - firstHour : Math.round(value),
      ),
      f: this.#lastFailure && [this.#lastFailure.atMs, this.#lastFailure.reason],
    })
  }

  /** Null when it is not a record, or one of a later format: then it is begun anew. */
  static decode(text: string): CheckRecord | null {
    const value: unknown = parsed(text)
    if (!isObject(value) || value['v'] !== formatVersion) return null
    const { t: times, r: findings, x: texts, b: firstHour, h: hours, f: failure } = value
    if (!isNumbers(times) || !isNumbers(findings) || times.length !== findings.length) return null
    if (!Array.isArray(texts) || !isNumbers(hours) || typeof firstHour !== 'number') return null
    const record = new CheckRecord()
    let timeMs = 0
    record.#times = times.map((step) => (timeMs += step))
    if (!record.#times.every(isTime)) return null
    record.#findings = findings
    record.#texts = ['', ...texts.map(String)]
    record.#hours = hours
      .slice(-hoursKept * hourFields)
      .map((number, place) => (place % hourFields === 0 ? firstHour + number : number))
    if (Array.isArray(failure) && typeof failure[1] === 'string' && isTime(failure[0])) {
      record.#lastFailure = { atMs: failure[0], reason: failure[1] }
    }
    return record
  }

  #result(place: number): CheckResult {
    const finding = this.#findings[place] ?? 0
    const code = finding % codesMax
    return {
      at: new Date(this.#times[place] ?? 0).toISOString(),
      ok: code % 2 === 1,
      latencyMs: Math.floor(finding / codesMax) / 10,
      reason: code < 2 ? null : (this.#texts[code >> 1] ?? textOfTheRest),
    }
  }

  #count(hour: number, seconds: number, up: boolean): void {
    const hours = this.#hours
    // A clock that was set back finds its hour again; usually it is the last one.
    let place = hours.length - hourFields
    while (place >= 0 && hours[place] !== hour) place -= hourFields
    if (place < 0) {
      place = hours.push(hour, 0, 0) - hourFields
      if (hours.length > hoursKept * hourFields) {
        hours.splice(0, hourFields)
        place -= hourFields
      }
    }
    hours[place + 1] = (hours[place + 1] ?? 0) + seconds
    if (up) hours[place + 2] = (hours[place + 2] ?? 0) + seconds
  }

  #placeOf(text: string | null): number {
    if (text === null) return 0
    const known = this.#texts.indexOf(text, 1)
    if (known > 0) return known
    if (this.#texts.length > textsMax) this.#forgetUnusedTexts()
    if (this.#texts.length > textsMax) {
      this.#texts[textsMax] = textOfTheRest
      return textsMax
    }
    return this.#texts.push(text) - 1
  }

  #forgetUnusedTexts(): void {
    const texts = ['']
    const moved = new Map<number, number>([[0, 0]])
    this.#findings = this.#findings.map((finding) => {
      const before = (finding % codesMax) >> 1
      let after = moved.get(before)
      if (after === undefined) {
        after = texts.push(this.#texts[before] ?? textOfTheRest) - 1
        moved.set(before, after)
      }
      return finding - 2 * before + 2 * after
    })
    this.#texts = texts
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isFinite(item))
}

/** What a date can be made of. */
function isTime(value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) <= 8.64e15
}
