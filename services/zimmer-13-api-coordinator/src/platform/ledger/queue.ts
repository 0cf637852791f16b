/**
 * Entries that wait for their group. Bounded in number and in waiting time; what leaves it unsent
 * was certainly not written.
 */
import { HausError } from '@haus/contract'
import type { Entry, Receipt } from './ledger.ts'

/** Beyond 512 entries a group's own size adds more latency than its shared fsync saves. */
export const groupMax = 512

/** About 16 groups: at 20 ms a group the last of them still makes the 250 ms. More would only time out. */
const queuedMax = 8192

/** How far past blocked entries a group is searched for; keeps one hot key from costing a full scan. */
const scanMax = 2048

export interface Pending {
  readonly entry: Entry
  readonly enqueuedAtMs: number
  settled: boolean
  resolve(receipt: Receipt): void
  reject(error: unknown): void
}

export class Queue {
  #waiting: Pending[] = []

  get size(): number {
    return this.#waiting.length
  }

  get oldestMs(): number | undefined {
    return this.#waiting[0]?.enqueuedAtMs
  }

  push(entry: Entry, enqueuedAtMs: number): Promise<Receipt> {
    if (this.#waiting.length >= queuedMax) {
      throw new HausError('writes_unavailable', 'The write queue is full. Try again in a moment.', {
        retryAfterSeconds: 1,
      })
    }
    const { promise, resolve, reject } = Promise.withResolvers<Receipt>()
    const pending: Pending = {
      entry,
      enqueuedAtMs,
      settled: false,
      resolve(receipt) {
        pending.settled = true
        resolve(receipt)
      },
      reject(error) {
        pending.settled = true
        reject(error)
      },
    }
    this.#waiting.push(pending)
    return promise
  }

  /**
   * The next group: in order, no two with a common key. An entry that has to wait holds back every
   * later entry that shares a key with it, so that each key sees its entries in their order.
   */
  takeGroup(): Pending[] {
    const group: Pending[] = []
    const passedOver: Pending[] = []
    const keysInUse = new Set<string>()
    let next = 0
    for (; next < this.#waiting.length && group.length < groupMax && next < scanMax; next++) {
      const pending = this.#waiting[next]
      if (!pending) break
      const { keys } = pending.entry
      const free = keys.every((key) => !keysInUse.has(key))
      for (const key of keys) keysInUse.add(key)
      if (free) group.push(pending)
      else passedOver.push(pending)
    }
    this.#waiting =
      passedOver.length === 0
        ? this.#waiting.slice(next)
        : passedOver.concat(this.#waiting.slice(next))
    return group
  }

  /** Removes what has waited since `beforeMs` or longer. */
  takeOlderThan(beforeMs: number): Pending[] {
    const late = this.#waiting.filter((pending) => pending.enqueuedAtMs <= beforeMs)
    if (late.length > 0) {
      this.#waiting = this.#waiting.filter((pending) => pending.enqueuedAtMs > beforeMs)
    }
    return late
  }

  takeAll(): Pending[] {
    const all = this.#waiting
    this.#waiting = []
    return all
  }
}
