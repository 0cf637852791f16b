/**
 * Prepared answers with their values in the clear, for as long as their credentials allow.
 *
 * An answer is held for the shortest `cacheTtlSeconds` of its credentials, and not at all if that
 * is 0; it is dropped at once when any of them changes. What is dropped is overwritten with zeros:
 * readers therefore get copies. The copies that HTTP sends are not overwritten, because nothing
 * tells when the kernel has taken them; they live for one answer.
 */
import type { Cancel, Clock } from '../../platform/clock/clock.ts'
import type { PreparedAnswer } from './prepared-answer.ts'

interface Held {
  readonly answer: PreparedAnswer
  readonly untilMs: number
}

export class PlaintextCache {
  readonly #clock: Clock
  readonly #maxBytes: number
  /** By service; the one used longest ago is first. */
  readonly #held = new Map<string, Held>()
  #bytes = 0
  #cancelSweep: Cancel | null = null

  constructor(clock: Clock, maxBytes: number) {
    this.#clock = clock
    this.#maxBytes = maxBytes
  }

  get sizeBytes(): number {
    return this.#bytes
  }

  get(service: string, etag: string): PreparedAnswer | undefined {
    const held = this.#held.get(service)
    if (!held) return undefined
    if (held.answer.offer.etag !== etag || held.untilMs <= this.#clock.monotonicMs()) {
      this.drop(service)
      return undefined
    }
    this.#held.delete(service)
    this.#held.set(service, held)
    return held.answer
  }

  /** `untilMs` on the monotonic clock. Takes the answer over: it wipes it in the end. */
  put(answer: PreparedAnswer, untilMs: number): boolean {
    const { service } = answer.offer
    this.drop(service)
    if (answer.sizeBytes > this.#maxBytes) return false
    this.#held.set(service, { answer, untilMs })
    this.#bytes += answer.sizeBytes
    for (const oldest of this.#held.keys()) {
      if (this.#bytes <= this.#maxBytes) break
      this.drop(oldest)
    }
    this.#scheduleSweep()
    return true
  }

  drop(service: string): void {
    const held = this.#held.get(service)
    if (!held) return
    this.#held.delete(service)
    this.#bytes -= held.answer.sizeBytes
    held.answer.wipe()
  }

  clear(): void {
    for (const service of [...this.#held.keys()]) this.drop(service)
    this.#cancelSweep?.()
    this.#cancelSweep = null
  }

  /** What nobody asks for again must not stay beyond its time either. */
  #scheduleSweep(): void {
    this.#cancelSweep?.()
    this.#cancelSweep = null
    if (this.#held.size === 0) return
    const nowMs = this.#clock.monotonicMs()
    let firstMs = Number.POSITIVE_INFINITY
    for (const { untilMs } of this.#held.values()) firstMs = Math.min(firstMs, untilMs)
    this.#cancelSweep = this.#clock.after(Math.max(1, firstMs - nowMs), () => {
      this.#cancelSweep = null
      const endedMs = this.#clock.monotonicMs()
      for (const [service, { untilMs }] of [...this.#held]) {
        if (untilMs <= endedMs) this.drop(service)
      }
      this.#scheduleSweep()
    })
  }
}
