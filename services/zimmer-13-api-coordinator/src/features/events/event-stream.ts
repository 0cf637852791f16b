/**
 * One subscriber's stream: what was missed, then what happens.
 *
 *   replaying ──pages read up to the first live event──► live ──► ended
 *
 * Live events are held back while older ones are read from the ledger. A subscriber that reads
 * slower than events arrive is ended when its backlog is full: it resumes with `Last-Event-ID`,
 * and the house keeps no unbounded memory for it.
 */
import { Readable } from 'node:stream'
import type { Cancel, Clock } from '../../platform/clock/clock.ts'
import type { Ledger, LedgerEvent } from '../../platform/ledger/index.ts'
import type { EventBus } from './bus.ts'
import { cloudEventOf, serverSentEvent } from './cloud-event.ts'
import type { ReadTurns } from './read-turns.ts'

/** About a second of a busy house; more would only hide a reader that has stopped. */
const backlogMax = 2_048
const pageSize = 256
/** Below the 30 to 60 s after which proxies drop a silent connection. */
const keepAliveMs = 15_000
/** How long a client waits before it comes back. */
const retryMs = 2_000

export interface EventStreamOptions {
  readonly bus: EventBus
  readonly ledger: Ledger
  readonly clock: Clock
  readonly houseId: string
  /** Resume after this index; null: from now on. */
  readonly afterIndex: number | null
  /** What is missed is read in turns with all other streams. */
  readonly turns: ReadTurns
  readonly wants: (event: LedgerEvent) => boolean
}

export class EventStream extends Readable {
  readonly #options: EventStreamOptions
  readonly #unsubscribe: () => void
  readonly #ended = new AbortController()
  #backlog: LedgerEvent[] = []
  #sent: number
  #replaying = false
  #ending = false
  #cancelKeepAlive: Cancel | undefined
  #onAsked: (() => void) | undefined
  /** The reader has asked and has not had enough: only then does anything leave the backlog. */
  #asking = false

  constructor(options: EventStreamOptions) {
    super({ encoding: 'utf8' })
    this.#options = options
    this.#sent = options.afterIndex ?? options.ledger.status().index
    this.#unsubscribe = options.bus.subscribe((events) => this.#receive(events))
    this.push(`retry: ${retryMs}\n\n`)
    this.#keepAlive()
    if (options.afterIndex !== null) void this.#replay()
  }

  /** Ends after what is already buffered; the client may come back with a new token. */
  finish(): void {
    if (this.#ending) return
    this.#release()
    this.push(null)
  }

  override _read(): void {
    this.#asking = true
    this.#onAsked?.()
    this.#drain()
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#release()
    callback(error)
  }

  #release(): void {
    this.#ending = true
    this.#unsubscribe()
    this.#cancelKeepAlive?.()
    this.#backlog = []
    this.#ended.abort()
    this.#onAsked?.()
  }

  #receive(events: readonly LedgerEvent[]): void {
    for (const event of events) if (this.#options.wants(event)) this.#backlog.push(event)
    if (this.#backlog.length > backlogMax) {
      this.finish()
      return
    }
    if (!this.#replaying) this.#drain()
  }

  #drain(): void {
    while (this.#asking && !this.#ending && !this.#replaying) {
      const event = this.#backlog.shift()
      if (!event) return
      if (event.index > this.#sent) this.#send(event)
    }
  }

  #send(event: LedgerEvent): void {
    this.#sent = event.index
    const data = cloudEventOf(event, this.#options.houseId)
    this.#asking = this.push(serverSentEvent(null, event.index, data))
  }

  async #replay(): Promise<void> {
    const { ledger } = this.#options
    this.#replaying = true
    try {
      const oldest = await this.#read(() => ledger.oldestIndex())
      const newest = ledger.status().index
      if (this.#sent > newest || (this.#sent > 0 && this.#sent < oldest - 1)) {
        const was = this.#sent
        this.#sent = newest
        this.push(
          serverSentEvent('reset', newest, {
            reason: `events after ${was} are not kept; read the state again, the stream goes on after ${newest}`,
            index: newest,
          }),
        )
      } else {
        await this.#replayPages(newest)
      }
    } catch {
      // The database is away: the client comes back with the last id that it saw.
      this.finish()
    }
    this.#replaying = false
    this.#drain()
  }

  async #replayPages(newest: number): Promise<void> {
    let after = this.#sent
    while (!this.#ending && after < newest) {
      const from = after
      const page = await this.#read(() => this.#options.ledger.read(from, pageSize))
      for (const event of page) {
        after = event.index
        if (this.#ending || event.index > newest || !this.#options.wants(event)) continue
        this.#send(event)
        if (!this.#asking) await this.#asked()
      }
      if (page.length === 0) return
    }
  }

  #read<T>(read: () => Promise<T>): Promise<T> {
    return this.#options.turns.take(read, this.#ended.signal)
  }

  /** Until the reader asks for more, or is gone. */
  #asked(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#onAsked = resolve
    return promise
  }

  #keepAlive(): void {
    this.#cancelKeepAlive = this.#options.clock.after(keepAliveMs, () => {
      if (this.#ending) return
      this.push(': still here\n\n')
      this.#keepAlive()
    })
  }
}
