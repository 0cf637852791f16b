/**
 * Writers of one credential take turns within this process. Each builds on the revision that the
 * one before has left; without turns, n writers at once would need n attempts each, since every
 * round of lost guards has one winner.
 */
import { HausError } from '@haus/contract'

/** A turn takes one flush, some 5 ms: the last of 32 still answers within the 250 ms of a write. */
const waitingMax = 32

interface Line {
  readonly last: Promise<unknown>
  readonly length: number
}

export class Turns {
  readonly #lines = new Map<string, Line>()

  /** @throws HausError overloaded */
  take<T>(key: string, task: () => Promise<T>): Promise<T> {
    const line = this.#lines.get(key)
    const length = (line?.length ?? 0) + 1
    if (length > waitingMax) {
      const error = new HausError(
        'overloaded',
        `More than ${waitingMax} writes wait for this credential. Try again in a moment.`,
        { retryAfterSeconds: 1 },
      )
      return Promise.reject(error)
    }
    const turn = line ? line.last.then(task, task) : task()
    this.#lines.set(key, { last: turn, length })
    const leave = (): void => {
      const current = this.#lines.get(key)
      if (!current) return
      if (current.length === 1) this.#lines.delete(key)
      else this.#lines.set(key, { ...current, length: current.length - 1 })
    }
    turn.then(leave, leave)
    return turn
  }
}
