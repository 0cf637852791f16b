/**
 * Whether an instance has failed so often that it is left alone for a while.
 *
 *   closed     5 failures in a row, or half of 20 requests in 10 s    -> open
 *   open       30 s, twice that the second time, at most 300 s        -> half-open
 *   half-open  one request at a time; 3 in a row succeed              -> closed
 *   half-open  one fails                                              -> open, longer
 *   any        a probe finds that the instance works again            -> closed
 *
 * A failure is the gateway's: 502, 503, 504, a reset, a timeout; never a 4xx or a 500, which are
 * answers. While half-open only the request that tries decides: others began before the opening, and
 * tell of then. It knows no clock: every question brings the time along.
 */
import type { BreakerState } from '@haus/contract'

const failuresInRow = 5
const requestsMin = 20
const failureShare = 0.5
const windowMs = 10_000
const slotMs = 1_000
const slots = windowMs / slotMs
const openForMs = 30_000
const openForMaxMs = 300_000
/** Breakers that opened together do not all try again in one moment. */
const jitter = 0.1
const successesToClose = 3
/** Working for so long makes the next opening a first one again. */
const forgetAfterMs = 300_000

export class Breaker {
  state: BreakerState = 'closed'
  #inRow = 0
  readonly #good = new Uint32Array(slots)
  readonly #bad = new Uint32Array(slots)
  #slot = 0
  #openings = 0
  #untilMs = 0
  #closedAtMs = 0
  #trying = false
  #successes = 0

  /** True when a request may go to the instance; while half-open for one at a time. */
  allows(nowMs: number): boolean {
    if (this.state === 'closed') return true
    if (this.state === 'open') {
      if (nowMs < this.#untilMs) return false
      this.state = 'half-open'
      this.#successes = 0
      this.#trying = false
    }
    return !this.#trying
  }

  /** Its last request failed. */
  get failing(): boolean {
    return this.#inRow > 0
  }

  /** When an open breaker will let somebody try. */
  get untilMs(): number {
    return this.#untilMs
  }

  /** True when this request is the one that tries. */
  started(): boolean {
    if (this.state !== 'half-open' || this.#trying) return false
    this.#trying = true
    return true
  }

  /** The request that tried ended without telling anything, such as when its client went away. */
  abandoned(): void {
    if (this.state === 'half-open') this.#trying = false
  }

  succeeded(nowMs: number, tried = false): void {
    if (this.state === 'half-open' && !tried) return
    this.#inRow = 0
    if (this.state === 'closed') {
      this.#turnTo(nowMs)
      const slot = this.#slot % slots
      this.#good[slot] = (this.#good[slot] ?? 0) + 1
      return
    }
    if (this.state !== 'half-open') return
    this.#trying = false
    this.#successes += 1
    if (this.#successes >= successesToClose) this.close(nowMs)
  }

  /** `mayOpen`: enough others are left. True when it has just opened. */
  failed(nowMs: number, unit: number, mayOpen: boolean, tried = false): boolean {
    if (this.state === 'half-open' && !tried) return false
    this.#inRow += 1
    if (this.state === 'open') return false
    if (this.state === 'closed') {
      this.#turnTo(nowMs)
      const slot = this.#slot % slots
      this.#bad[slot] = (this.#bad[slot] ?? 0) + 1
      if (!mayOpen || !this.#isTooMuch()) return false
    }
    this.#open(nowMs, unit)
    return true
  }

  close(nowMs: number): void {
    this.state = 'closed'
    this.#closedAtMs = nowMs
    this.#inRow = 0
    this.#trying = false
    this.#good.fill(0)
    this.#bad.fill(0)
  }

  #open(nowMs: number, unit: number): void {
    if (this.state === 'closed' && nowMs - this.#closedAtMs > forgetAfterMs) this.#openings = 0
    this.#openings += 1
    const forMs = Math.min(openForMs * this.#openings, openForMaxMs)
    this.state = 'open'
    this.#trying = false
    this.#untilMs = nowMs + forMs * (1 + jitter * (2 * unit - 1))
  }

  #isTooMuch(): boolean {
    if (this.#inRow >= failuresInRow) return true
    let good = 0
    let bad = 0
    for (let slot = 0; slot < slots; slot++) {
      good += this.#good[slot] ?? 0
      bad += this.#bad[slot] ?? 0
    }
    return good + bad >= requestsMin && bad >= (good + bad) * failureShare
  }

  /** Empties the slots that have passed since the last request. */
  #turnTo(nowMs: number): void {
    const slot = Math.floor(nowMs / slotMs)
    const passed = Math.min(slot - this.#slot, slots)
    for (let step = 1; step <= passed; step++) {
      const place = (this.#slot + step) % slots
      this.#good[place] = 0
      this.#bad[place] = 0
    }
    if (slot - this.#slot > slots) {
      this.#good.fill(0)
      this.#bad.fill(0)
    }
    this.#slot = slot
  }
}
