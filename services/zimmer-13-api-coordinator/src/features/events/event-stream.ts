/**
 * One subscriber's stream: what was missed, then what happens.
 *
 *   replaying ──pages read up to the first live event──► live ──► ended
 *
 * Live events are held back while older ones are read from the ledger. A subscriber that reads
 * slower than events arrive is ended when its backlog is full: it resumes with `Last-Event-ID`,
 * and the house keeps no unbounded memory for it.
 *
 * The place to resume after is told with every event, at the beginning and with each keep-alive.
 * A reader who has had no event yet would else miss what happens before he is back, and one whose
 * filter passes few would read everything again, or find his place no longer kept.
 */
import { Readable } from 'node:stream'
import type { Cancel, Clock } from '../../platform/clock/clock.ts'
import type { Ledger, LedgerEvent } from '../../platform/ledger/index.ts'
import type { EventBus } from './bus.ts'
import { cloudEventOf, resumePoint, serverSentEvent } from './cloud-event.ts'
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
  /** Up to this index the reader has had everything that it wants: the place to resume after. */
  #complete: number
  /** The last index that the bus has brought, wanted or not. */
  #heard: number
  #replaying = false
  #ending = false
  #cancelKeepAlive: Cancel | undefined
  #onAsked: (() => void) | undefined
  /** The reader has asked and has not had enough: only then does anything leave the backlog. */
  #asking = false

  constructor(options: EventStreamOptions) {
    super({ encoding: 'utf8' })
    this.#options = options
    this.#heard = options.ledger.status().index
    this.#complete = options.afterIndex ?? this.#heard
    this.#unsubscribe = options.bus.subscribe((events) => this.#receive(events))
    this.push(`retry: ${retryMs}\n${resumePoint(this.#complete)}`)
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
    for (const event of events) {
      if (this.#options.wants(event)) this.#backlog.push(event)
      this.#heard = event.index
    }
    if (this.#backlog.length > backlogMax) {
      this.finish()
      return
    }
    if (!this.#replaying) this.#drain()
  }

  #drain(): void {
    while (this.#asking && !this.#ending && !this.#replaying) {
      const event = this.#backlog.shift()
      if (!event) {
        this.#complete = Math.max(this.#complete, this.#heard)
        return
      }
      if (event.index > this.#complete) this.#send(event)
    }
  }

  #send(event: LedgerEvent): void {
    this.#complete = event.index
    const data = cloudEventOf(event, this.#options.houseId)
    this.#asking = this.push(serverSentEvent(null, event.index, data))
  }

  async #replay(): Promise<void> {
    const { ledger } = this.#options
    this.#replaying = true
    try {
      const oldest = await this.#read(() => ledger.oldestIndex())
      const newest = ledger.status().index
      const was = this.#complete
      if (was > newest || (was > 0 && was < oldest - 1)) {
        this.#complete = newest
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
    while (!this.#ending && this.#complete < newest) {
      const from = this.#complete
      const page = await this.#read(() => this.#options.ledger.read(from, pageSize))
      for (const event of page) {
        // What is newer is in the backlog: counted as read, it would be passed over there.
        if (this.#ending || event.index > newest) return
        if (!this.#options.wants(event)) {
          this.#complete = event.index
          continue
        }
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
      // To a reader that has not taken the last, one more says nothing.
      if (this.readableLength === 0) this.push(`: still here\n${resumePoint(this.#complete)}`)
      this.#keepAlive()
    })
  }
}
