/**
 * Keeps this process's projections equal to the ledger: in index order, without gaps.
 *
 * Events come from this process's own commits and, where replicas share a database, from reading
 * what others wrote: woken by NOTIFY, with a poll each second because a notification can be lost.
 * A projection that fails to apply stops the follower at that index; the poll tries again.
 */
import type { Database } from '../database/index.ts'
import { readEventsInTime } from './events.ts'
import type { LedgerEvent, Projection } from './ledger.ts'
import type { LedgerTables } from './table.ts'

const pageSize = 512

export class Follower {
  readonly #database: Database<LedgerTables>
  readonly #projections: readonly Projection[]
  #applied = 0
  #work: Promise<void> = Promise.resolve()

  constructor(database: Database<LedgerTables>, projections: readonly Projection[]) {
    this.#database = database
    this.#projections = projections
  }

  /** The index up to which everything is applied. */
  get index(): number {
    return this.#applied
  }

  startAt(index: number): void {
    this.#applied = index
  }

  /** Applies what this process has just committed; reads what others committed before it first. */
  deliver(events: readonly LedgerEvent[]): Promise<void> {
    return this.#inTurn(async () => {
      const [first] = events
      if (!first) return
      if (first.index > this.#applied + 1) await this.#readUpTo(first.index - 1)
      await this.#apply(events.filter((event) => event.index > this.#applied))
    })
  }

  /** Reads and applies all that is new in the database. */
  catchUp(): Promise<void> {
    return this.#inTurn(() => this.#readUpTo(Number.POSITIVE_INFINITY))
  }

  async #readUpTo(last: number): Promise<void> {
    while (this.#applied < last) {
      const limit = Math.min(pageSize, last - this.#applied)
      const events = await readEventsInTime(this.#database, this.#applied, limit)
      if (events.length === 0) return
      await this.#apply(events)
    }
  }

  async #apply(events: readonly LedgerEvent[]): Promise<void> {
    const last = events.at(-1)
    if (!last) return
    for (const projection of this.#projections) {
      const applying = projection.apply(events)
      if (applying) await applying
    }
    this.#applied = last.index
  }

  #inTurn(task: () => Promise<void>): Promise<void> {
    const turn = this.#work.then(task)
    this.#work = turn.catch(() => {})
    return turn
  }
}
