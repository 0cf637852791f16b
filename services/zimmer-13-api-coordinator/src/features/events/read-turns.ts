/**
 * At most so many reads of the ledger at a time, for all streams together; the rest stand in line.
 *
 * A restarted proxy brings every reader back in the same second, each with pages to catch up on,
 * and the embedded database answers one query at a time: a write must not stand behind them all.
 * A turn is one page and not a whole replay, so a reader that has stopped holds up nobody. The
 * line has at most one place per stream, and who leaves gives his place up.
 */
export class ReadTurns {
  readonly #atOnceMax: number
  readonly #line = new Set<() => void>()
  #taken = 0

  constructor(atOnceMax: number) {
    this.#atOnceMax = atOnceMax
  }

  get waiting(): number {
    return this.#line.size
  }

  /** @throws the reason of the signal when that comes first. */
  async take<T>(read: () => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted()
    if (this.#taken < this.#atOnceMax) this.#taken += 1
    else await this.#standInLine(signal)
    try {
      return await read()
    } finally {
      const [next] = this.#line
      if (next) next()
      else this.#taken -= 1
    }
  }

  /** The turn is handed on: whoever comes meanwhile does not overtake the line. */
  #standInLine(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#line.delete(called)
        signal.removeEventListener('abort', giveUp)
      }
      const called = (): void => {
        leave()
        resolve()
      }
      const giveUp = (): void => {
        leave()
        reject(signal.reason)
      }
      this.#line.add(called)
      signal.addEventListener('abort', giveUp)
    })
  }
}
