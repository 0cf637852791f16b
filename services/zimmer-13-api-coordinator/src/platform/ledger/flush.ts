/**
 * How groups travel to the database and back.
 *
 * There is no timer: a group is sent as soon as the one before is on its way, so load itself forms
 * the groups. The statements of a group follow the COMMIT of the one before without waiting for its
 * answer: the database works on them while the callers of that one are answered here.
 *
 * One connection carries the groups of a run one after the other, until nothing waits or somebody
 * else wants it. While it is held nothing here waits for the follower, which on the embedded
 * database may be waiting for this very connection.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type pg from 'pg'
import type { AttentiveClock } from '../clock/attentive-clock.ts'
import type { Cancel, Clock } from '../clock/clock.ts'
import type { Database } from '../database/index.ts'
import { commitsItself, isLockedOut, OutcomeUnknown, stageGroup, type Staged } from './commit.ts'
import { connect } from './connect.ts'
import type { Follower } from './follower.ts'
import type { Pending, Queue } from './queue.ts'
import { RecentDurations } from './recent-durations.ts'
import type { LedgerTables } from './table.ts'

/** A connection that says nothing for so long is given up, or a silent network would hold the queue forever. */
const hungAfterMs = 10_000

interface FlusherOptions {
  readonly database: Database<LedgerTables>
  readonly queue: Queue
  readonly follower: Follower
  readonly clock: Clock
  /** In which callers wait. */
  readonly attentive: AttentiveClock
  /** How long callers wait for the group that their entry is in. */
  readonly writeTimeoutMs: number
  readonly onCommitted: () => void
  readonly onFailed: (error: unknown) => void
  /** What callers are told for whom the database, and nothing of their own, is the reason. */
  readonly refusal: (error: unknown, mayBeWritten: boolean) => Error
  /** The database stands before an index that it has acknowledged: nothing may be written to it. */
  readonly rolledBack: (applied: number, found: number) => Error
}

export interface Flusher {
  /** Something is queued. */
  wake(): void
  /** Resolves when nothing is left; undefined: nothing is. */
  idle(): Promise<void> | undefined
  /** Resolves when the group that has been under way for longest is answered. */
  oldestAnswered(): Promise<void> | undefined
  /** Entries under way. */
  readonly inFlight: number
  p99Ms(): number
}

/** A group under way. */
interface Flight {
  readonly group: readonly Pending[]
  /** The index at which the head was expected when it was sent. */
  readonly expectedIndex: number
  /** The index that had been acknowledged by then: the head cannot have stood before it. */
  readonly acknowledgedIndex: number
  readonly sentAtMs: number
  readonly staged: Promise<Staged>
  readonly answered: PromiseWithResolvers<void>
  committed: boolean
  cancelTimeout: Cancel
}

/** The connection of a run. */
interface Line {
  readonly client: Promise<pg.PoolClient>
  /** Another sign of life is expected within the limit. */
  watch(): void
  /** With an error the connection is not used again. */
  close(error?: unknown): void
}

export function createFlusher(options: FlusherOptions): Flusher {
  const { database, queue, follower, clock, attentive, writeTimeoutMs } = options
  const durations = new RecentDurations()
  /**
   * Oldest first, two at most. Not a Set: V8 lets the old table of a Set point to its next one, and
   * with one of them in the old generation every group that follows lives until a major collection.
   */
  let flights: readonly Flight[] = []
  let running: Promise<void> | undefined
  /** Where the head stood at the last commit of this process that was confirmed. */
  let confirmedIndex = 0
  /** Where it will stand after the last group that was written, if its commit succeeds. */
  let expectedIndex = 0
  /** It was not where it was expected: it is looked at before it is counted on again. */
  let surprised = false

  async function flush(): Promise<void> {
    // Lets the requests of this turn of the event loop join the first group.
    await nextTurn()
    while (queue.size > 0) await flushOverOneConnection()
    running = undefined
  }

  async function flushOverOneConnection(): Promise<void> {
    const line = openLine()
    let answering: Promise<void> | undefined
    let flight: Flight | undefined = send(line)
    try {
      while (flight) {
        line.watch()
        limit(flight, writeTimeoutMs)
        const staged = await flight.staged
        check(flight, staged)
        const committing = staged.commit()
        const next: Flight | undefined = anotherMayFollow() ? send(line) : undefined
        if (next)
          limit(next, (next.group[0]?.enqueuedAtMs ?? 0) + writeTimeoutMs - attentive.monotonicMs())
        await committing
        flight.committed = true
        confirmedIndex = staged.lastIndex
        if (!next) line.close()
        answering = answer(flight, staged)
        flight = next
      }
    } catch (error) {
      line.close(error)
      for (const each of flights) if (!each.committed) fail(each, error, each === flight)
      // What was written is gone, or nobody knows.
      expectedIndex = confirmedIndex
      surprised = true
      options.onFailed(error)
    }
    await answering
  }

  function openLine(): Line {
    const client = connect(database.kind, database.ledgerPool)
    let cancelWatch: Cancel | undefined
    let closed = false
    const close = (error?: unknown): void => {
      cancelWatch?.()
      if (closed) return
      closed = true
      void letGo(client, error !== undefined)
    }
    return {
      client,
      watch() {
        cancelWatch?.()
        if (database.kind !== 'postgres') return
        cancelWatch = attentive.after(hungAfterMs, () =>
          close(new Error(`no answer for ${hungAfterMs} ms`)),
        )
      },
      close,
    }
  }

  function send({ client }: Line): Flight {
    const group = queue.takeGroup()
    const entries = group.map(({ entry }) => entry)
    expectedIndex = Math.max(expectedIndex, follower.index)
    const how = {
      shared: database.kind === 'postgres',
      expectedIndex: surprised ? null : expectedIndex,
    }
    const staged = client.then((open) => stageGroup(open, entries, how))
    // It may fail while the group before it is still waited for.
    staged.catch(() => {})
    const flight: Flight = {
      group,
      expectedIndex,
      acknowledgedIndex: Math.max(confirmedIndex, follower.index),
      sentAtMs: clock.monotonicMs(),
      staged,
      answered: Promise.withResolvers(),
      committed: false,
      cancelTimeout: () => {},
    }
    flights = [...flights, flight]
    return flight
  }

  /** Before the COMMIT, since what is known of the head is what the next group counts on. */
  function check(flight: Flight, { events, lastIndex }: Staged): void {
    const before = lastIndex - events.length
    // Not what is known by now: an audit record holds no lock, and others may have written since.
    const { acknowledgedIndex } = flight
    if (before < acknowledgedIndex) throw options.rolledBack(acknowledgedIndex, before)
    surprised = before !== flight.expectedIndex
    expectedIndex = lastIndex
  }

  /** Bounded at two: one that the database works on, one whose callers are answered. */
  function anotherMayFollow(): boolean {
    return queue.size > 0 && flights.length === 1 && database.ledgerPool.waitingCount === 0
  }

  function limit(flight: Flight, afterMs: number): void {
    flight.cancelTimeout()
    flight.cancelTimeout = attentive.after(Math.max(1, afterMs), () => {
      // A timer comes before what has arrived, and the answer may be there already.
      void nextTurn().then(() => reject(flight, null, true))
    })
  }

  async function answer(flight: Flight, committed: Staged): Promise<void> {
    try {
      options.onCommitted()
      await follower.deliver(committed.events)
      // What others committed before this group is known before it is acknowledged: a loser of a
      // guard looks again and sees who won, and a read of secrets sees a revocation made elsewhere.
      if (committed.lastIndex > follower.index) await follower.catchUp()
      for (const [place, pending] of flight.group.entries()) {
        if (pending.settled) continue
        const result = committed.results[place]
        if (result && 'index' in result) {
          pending.resolve({ index: result.index, time: committed.time })
        } else if (isLockedOut(result?.error)) {
          pending.reject(options.refusal(result?.error, false))
        } else pending.reject(result?.error)
      }
    } catch (error) {
      options.onFailed(error)
      reject(flight, error, true)
    }
    leave(flight)
  }

  /** The one that failed, or one that was sent behind it: of that only what needs no COMMIT may stand. */
  function fail(flight: Flight, error: unknown, itself: boolean): void {
    const mayBeWritten = itself
      ? error instanceof OutcomeUnknown
      : commitsItself(flight.group.map(({ entry }) => entry))
    reject(flight, error, mayBeWritten)
    leave(flight)
  }

  function reject({ group }: Flight, error: unknown, mayBeWritten: boolean): void {
    for (const pending of group) {
      if (!pending.settled) pending.reject(options.refusal(error, mayBeWritten))
    }
  }

  function leave(flight: Flight): void {
    flight.cancelTimeout()
    flights = flights.filter((each) => each !== flight)
    durations.add(clock.monotonicMs() - flight.sentAtMs)
    flight.answered.resolve()
  }

  return {
    wake() {
      running ??= flush()
    },
    idle: () => running,
    oldestAnswered() {
      const [oldest] = flights
      return oldest?.answered.promise
    },
    get inFlight() {
      let entries = 0
      for (const { group } of flights) entries += group.length
      return entries
    },
    p99Ms: () => durations.p99(),
  }
}

async function letGo(connecting: Promise<pg.PoolClient>, broken: boolean): Promise<void> {
  const client = await connecting.catch(() => null)
  // In an unknown state it is not used again. The driver by itself would go on waiting for the
  // answers to all that it has sent.
  if (broken) client?.connection.stream.destroy()
  client?.release(broken)
}
