/**
 * The ledger at work: when a group is flushed, how long an answer may take, and what is said
 * while the database is away.
 *
 *   available ──flush or poll fails──► away ──poll succeeds──► available
 *
 * PostgreSQL that says nothing for 5 s is away. The embedded database is not: it does one thing at
 * a time in this very process, so silence means that it is busy, and its death ends the process.
 *
 * Away: what waits is refused at once and was certainly not written; what was in a commit whose
 * answer is missing is `write_outcome_unknown`. Nothing is retried here: only the caller knows
 * whether he still wants it.
 */
import { HausError } from '@haus/contract'
import type { Kysely } from 'kysely'
import pg from 'pg'
import { createAttentiveClock } from '../clock/attentive-clock.ts'
import type { Cancel, Clock } from '../clock/clock.ts'
import type { Database } from '../database/index.ts'
import type { Log } from '../log/log.ts'
import {
  headMissing,
  isInfrastructure,
  isLockedOut,
  notifyChannel,
  OutcomeUnknown,
} from './commit.ts'
import { Busy } from './connect.ts'
import { checkHead, readEvents } from './events.ts'
import { createFlusher } from './flush.ts'
import { Follower } from './follower.ts'
import type { Entry, Ledger, LedgerEvent, LedgerStatus, Projection, Receipt } from './ledger.ts'
import { Queue } from './queue.ts'
import { pruneHistory } from './retention.ts'
import type { LedgerTables } from './table.ts'
import { codeOf } from '../errors/thrown.ts'

/**
 * A caller waits this long in the queue, and as long again for the commit; then 503. Time in which
 * this thread could not have read an answer does not count.
 */
const writeTimeoutDefaultMs = 250
/** NOTIFY is the fast way and can be lost; this is the sure one. Also how an outage's end is noticed. */
const pollIntervalMs = 1_000
/** A poll that has brought nothing for so long has failed: the driver's own limit is more than a minute. */
const pollSilenceMs = 5_000
/** Two missed polls: younger knowledge is called current, since replicas are told at each commit. */
const currentForMs = 2 * pollIntervalMs + 500
const pruneIntervalMs = 60 * 60 * 1_000

export interface LoadableProjection<Tables> extends Projection {
  /** Builds the state from the tables, inside one repeatable-read transaction. */
  load(db: Kysely<Tables>): Promise<void>
}

export interface LedgerOptions<Tables extends LedgerTables> {
  readonly database: Database<Tables>
  readonly projections: readonly LoadableProjection<Tables>[]
  readonly clock: Clock
  readonly log: Log
  /**
   * The database has lost what was acknowledged. New facts would be numbered like old ones and be
   * passed over by every view, so the process must end.
   */
  readonly onRolledBack?: (error: HausError) => void
  /** 250 by default; tests of other promises lengthen it, since they share the machine. */
  readonly writeTimeoutMs?: number
}

export interface RunningLedger extends Ledger {
  /** Loads the projections and begins to follow. */
  start(): Promise<void>
  /** Writes out what is queued, for `deadlineMs` at most; refuses what comes after. */
  stop(deadlineMs: number): Promise<void>
}

export function createLedger<Tables extends LedgerTables>(
  options: LedgerOptions<Tables>,
): RunningLedger {
  const { projections, clock, log, writeTimeoutMs = writeTimeoutDefaultMs } = options
  // Kysely's type is invariant in its tables; the ledger touches only its own.
  const database = options.database as unknown as Database<LedgerTables>
  const tookTooLong = `the database took longer than ${writeTimeoutMs} ms`
  const attentive = createAttentiveClock(clock)
  const queue = new Queue()
  const follower = new Follower(database, projections)
  const flusher = createFlusher({
    database,
    queue,
    follower,
    clock,
    attentive,
    writeTimeoutMs,
    onCommitted: confirm,
    onFailed(error) {
      if (!(error instanceof Busy)) lose(error)
    },
    refusal: (error, mayBeWritten) =>
      mayBeWritten ? outcomeUnknown() : notWritten(message(error)),
    rolledBack(applied, found) {
      const error = rolledBack(applied, found)
      options.onRolledBack?.(error)
      return error
    },
  })

  let accepting = false
  let unavailable: string | null = null
  /** While set, what waits is refused unsent: the group under way holds it up. */
  let heldUpBy: Promise<void> | undefined
  let confirmedAtMs = clock.monotonicMs()
  let cancelSweep: Cancel | undefined
  const cancels = new Set<Cancel>()
  let stopListening: (() => Promise<void>) | undefined

  function append(entry: Entry): Promise<Receipt> {
    if (!accepting) {
      return Promise.reject(
        new HausError('shutting_down', 'The house is closing; nothing was written.'),
      )
    }
    if (unavailable !== null) return Promise.reject(notWritten(unavailable))
    let receipt: Promise<Receipt>
    try {
      receipt = queue.push(entry, attentive.monotonicMs())
    } catch (error) {
      return Promise.reject(error)
    }
    flusher.wake()
    cancelSweep ??= attentive.after(writeTimeoutMs, sweep)
    return receipt
  }

  function sweep(): void {
    cancelSweep = undefined
    const nowMs = attentive.monotonicMs()
    const late = queue.takeOlderThan(nowMs - writeTimeoutMs)
    for (const pending of late) pending.reject(notWritten(tookTooLong))
    if (late.length > 0) holdUp()
    const oldestMs = queue.oldestMs
    if (oldestMs !== undefined) {
      cancelSweep = attentive.after(Math.max(1, oldestMs + writeTimeoutMs - nowMs), sweep)
    }
  }

  /** Until the group has an answer: who asks meanwhile is told that writes are refused. */
  function holdUp(): void {
    const answered = flusher.oldestAnswered()
    heldUpBy = answered
    void answered?.then(() => {
      if (heldUpBy === answered) heldUpBy = undefined
    })
  }

  function confirm(): void {
    confirmedAtMs = clock.monotonicMs()
    if (unavailable === null) return
    unavailable = null
    log.info({ index: follower.index }, 'writes are taken again')
  }

  function lose(error: unknown): void {
    const reason = message(error)
    if (unavailable === null) log.error({ err: error, reason }, 'writes are refused; reads go on')
    unavailable = reason
    for (const pending of queue.takeAll()) pending.reject(notWritten(reason))
  }

  async function poll(): Promise<void> {
    let late = false
    let cancel: Cancel | undefined
    const watch = (): void => {
      const before = follower.index
      cancel = attentive.after(pollSilenceMs, () => {
        // A long way to catch up is not silence.
        if (follower.index > before) return watch()
        late = true
        if (accepting) lose(new Error(`no answer for ${pollSilenceMs} ms`))
      })
    }
    if (database.kind === 'postgres') watch()
    try {
      await follower.catchUp()
      if (unavailable !== null) await checkHead(database)
      // What comes late tells of the past: the next poll decides.
      if (!late) confirm()
    } catch (error) {
      if (accepting && !(error instanceof Busy)) lose(error)
    } finally {
      cancel?.()
    }
  }

  async function within(limitMs: number, work: Promise<void> | undefined): Promise<void> {
    const limit = Promise.withResolvers<void>()
    const cancel = clock.after(Math.max(0, limitMs), limit.resolve)
    await Promise.race([work, limit.promise]).finally(cancel)
  }

  /**
   * A process hears of its own commits too, and often before their answer has come: what the group
   * under way brings along need not be read (a half of all events was, under load).
   */
  async function hear(index: number): Promise<void> {
    if (index > follower.index) await flusher.oldestAnswered()
    if (accepting && index > follower.index) await poll()
  }

  function every(intervalMs: number, task: () => Promise<void>): void {
    const next = (): void => {
      const cancel = clock.after(intervalMs, () => {
        cancels.delete(cancel)
        if (accepting) void task().finally(next)
      })
      cancels.add(cancel)
    }
    next()
  }

  return {
    append,

    read: (afterIndex, limit): Promise<LedgerEvent[]> =>
      readEvents(database.readDb, afterIndex, limit),

    async oldestIndex() {
      const row = await database.readDb
        .selectFrom('ledger_event')
        .select('index')
        .orderBy('index')
        .limit(1)
        .executeTakeFirst()
      return row?.index ?? follower.index + 1
    },

    status(): LedgerStatus {
      const error = unavailable ?? (heldUpBy === undefined ? null : tookTooLong)
      const silentMs = clock.monotonicMs() - confirmedAtMs
      // Nobody else writes to an embedded database: what this process has applied is all there is.
      const current = database.kind === 'embedded' || silentMs <= currentForMs
      return {
        index: follower.index,
        queued: queue.size + flusher.inFlight,
        available: accepting && error === null,
        readable: accepting && unavailable === null,
        error,
        ageMs: current && unavailable === null ? 0 : Math.round(silentMs),
        flushP99Ms: flusher.p99Ms(),
      }
    },

    async start() {
      const { db } = options.database
      const index = await db
        .transaction()
        .setIsolationLevel('repeatable read')
        .execute(async (snapshot) => {
          const head = await (snapshot as unknown as Kysely<LedgerTables>)
            .selectFrom('ledger_head')
            .select('last_event')
            .executeTakeFirst()
          if (!head) throw headMissing()
          for (const projection of projections) await projection.load(snapshot)
          return head.last_event
        })
      follower.startAt(index)
      confirmedAtMs = clock.monotonicMs()
      accepting = true
      every(pollIntervalMs, poll)
      every(pruneIntervalMs, () => pruneHistory(database.db, log))
      if (database.kind === 'postgres') {
        stopListening = await database.listen(notifyChannel, (payload) => {
          void hear(Number(payload))
        })
      }
    },

    async stop(deadlineMs) {
      accepting = false
      for (const cancel of cancels) cancel()
      cancels.clear()
      const endsAtMs = clock.monotonicMs() + deadlineMs
      await within(deadlineMs, flusher.idle())
      cancelSweep?.()
      for (const pending of queue.takeAll()) pending.reject(notWritten('the house is closing'))
      // Not waited for longer: a server that says nothing forgets the channel with the connection.
      if (stopListening) await within(endsAtMs - clock.monotonicMs(), stopListening())
    },
  }
}

function rolledBack(applied: number, found: number): HausError {
  return new HausError(
    'database_corrupt',
    `the database has gone back from index ${applied} to ${found}, as after a failover to a standby that had not received everything: what this process knows is not what is stored; look at the database, and start Haus again to go on with what it holds`,
  )
}

function notWritten(reason: string): HausError {
  return new HausError(
    'writes_unavailable',
    `Nothing was written: ${reason}. Reads go on; try the write again.`,
    { retryAfterSeconds: 1 },
  )
}

function outcomeUnknown(): HausError {
  return new HausError(
    'write_outcome_unknown',
    'The database did not confirm the write in time. It may have been written: read it back, or send it again.',
    { retryAfterSeconds: 1 },
  )
}

/** The driver's message can hold a row's values or a connection string; only its kind is told. */
function message(error: unknown): string {
  if (error instanceof Busy) return error.message
  if (isLockedOut(error)) return 'somebody else has locked in the database what was to be changed'
  if (error instanceof HausError) return error.message
  const cause = error instanceof OutcomeUnknown ? error.cause : error
  if (!(cause instanceof pg.DatabaseError) && !isInfrastructure(cause)) {
    return 'this Haus has made a mistake, which its log tells'
  }
  const code = codeOf(cause)
  if (code === diskFullState) return 'the database cannot grow, since its disk is full'
  return code === undefined ? 'the database is away' : `the database is away (${code})`
}

/** PostgreSQL's own name for it; the one state that somebody has to mend by hand. */
const diskFullState = '53100'
