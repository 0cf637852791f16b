/**
 * The last checks of every instance, and its uptime over a day: read from memory, written down so
 * that a restart keeps them.
 *
 * One row per instance, written at most once a minute and at most 50 a second, and not a row per
 * check: 10,000 instances at 30 s would be 333 rows a second and 57 million in two days, which is
 * more than the rest of Haus writes, and pruning them would cost as much again. It is not the
 * ledger's business: nothing is acknowledged with it, and it waits while the database is away. A
 * process that is killed loses the last minute; in a house of 10,000, the last three.
 */
import type { Kysely } from 'kysely'
import { checksKeptMax } from '@haus/contract'
import type { Cancel, Clock } from '../../platform/clock/clock.ts'
import type { Log } from '../../platform/log/log.ts'
import { CheckRecord, type CheckResult } from './check-record.ts'
import type { Finding } from './probe.ts'
import { readHistories, removeHistories, writeHistories } from './store.ts'
import type { HealthTables } from './table.ts'

export interface HistorySummary {
  readonly last: CheckResult | null
  readonly uptime24h: number | null
  readonly observedSeconds: number
  readonly lastFailure: { readonly reason: string; readonly at: string } | null
}

export interface InstanceHistory extends Omit<HistorySummary, 'last'> {
  /** The newest first. */
  readonly checks: readonly CheckResult[]
}

export interface CheckHistory {
  add(id: string, finding: Finding, intervalMs: number): void
  of(id: string): InstanceHistory
  /** Cheap enough for a page of services. */
  summaryOf(id: string): HistorySummary
  /** The instance is gone. */
  forget(id: string): void
  /** Results that are in memory only. */
  readonly unwritten: number
  /** Results since the start that made room before they could be written. */
  readonly dropped: number
  /** Reads what was written; of instances that `isKnown` does not know it is removed. */
  start(isKnown: (id: string) => boolean): Promise<void>
  /** Writes what waits, as far as that is quick. */
  stop(): Promise<void>
}

interface CheckHistoryOptions {
  readonly db: Kysely<HealthTables>
  readonly clock: Clock
  readonly log: Log
  /** Whether the database can be asked now. */
  readonly available: () => boolean
}

/** A house of 10,000 instances keeps 100 of each in 29 MB; one of 100,000 keeps 10. */
const resultsMax = 1_000_000
const writeIntervalMs = 1_000
/** Of one instance: at 30 s that is two results per write of 1.7 KB. */
const writeAfterMs = 60_000
/** 11 ms of the embedded database, for which a flush may have to wait; 200 took 20 to 50. */
const writeRows = 50
/** A stop may still write what a house of 2,000 instances has waiting: nobody else writes by then. */
const stopRows = 200
const stopBatches = 10
/** A database that says nothing must not keep the house from closing. */
const stopMs = 500
const removeRows = 500

const nothing: HistorySummary = {
  last: null,
  uptime24h: null,
  observedSeconds: 0,
  lastFailure: null,
}

export function createCheckHistory(options: CheckHistoryOptions): CheckHistory {
  const { db, clock, log, available } = options
  const records = new Map<string, CheckRecord>()
  /** Since when a record has something unwritten; in that order, because time only grows. */
  const waiting = new Map<string, number>()
  /** What may have a row and has no instance any more. */
  const gone = new Set<string>()
  const written = new Set<string>()
  let unwritten = 0
  let dropped = 0
  let stopped = false
  let complained = false
  let cancelTimer: Cancel | undefined
  let work = Promise.resolve()

  function keepOfEach(): number {
    const share = Math.floor(resultsMax / Math.max(1, records.size))
    return Math.min(checksKeptMax, Math.max(10, share))
  }

  function next(): void {
    if (stopped) return
    cancelTimer = clock.after(writeIntervalMs, () => {
      work = round().finally(next)
    })
  }

  async function round(): Promise<void> {
    if (!available()) return
    try {
      await removeGone()
      await writeWaiting(clock.monotonicMs() - writeAfterMs, writeRows)
      complained = false
    } catch (err) {
      if (!complained) log.warn({ err }, 'the history of checks could not be written; it will be')
      complained = true
    }
  }

  async function removeGone(): Promise<void> {
    const ids = firstOf(gone, removeRows)
    if (ids.length === 0) return
    await removeHistories(db, ids)
    for (const id of ids) gone.delete(id)
  }

  /** True when more of them wait. */
  async function writeWaiting(sinceMs: number, rowsMax: number): Promise<boolean> {
    const rows: { id: string; history: string; count: number; sinceMs: number }[] = []
    for (const [id, waitsSinceMs] of waiting) {
      if (rows.length === rowsMax || waitsSinceMs > sinceMs) break
      const record = records.get(id)
      waiting.delete(id)
      if (record) {
        rows.push({ id, history: record.encode(), count: record.unwritten, sinceMs: waitsSinceMs })
      }
    }
    if (rows.length === 0) return false
    try {
      await writeHistories(db, rows)
    } catch (error) {
      // Last in line, but for the next round: what came meanwhile is written with it.
      for (const { id } of rows) if (records.has(id)) waiting.set(id, sinceMs)
      throw error
    }
    for (const { id, count } of rows) {
      const record = records.get(id)
      if (!record) {
        // Removed while it was being written.
        gone.add(id)
        continue
      }
      written.add(id)
      const done = Math.min(count, record.unwritten)
      record.unwritten -= done
      unwritten -= done
      if (record.unwritten > 0 && !waiting.has(id)) waiting.set(id, clock.monotonicMs())
    }
    return rows.length === rowsMax
  }

  async function writeRest(): Promise<void> {
    await work
    if (!available()) return
    try {
      for (let batch = 0; batch < stopBatches; batch++) {
        if (!(await writeWaiting(Number.POSITIVE_INFINITY, stopRows))) break
      }
    } catch (err) {
      log.warn({ err }, 'the last checks could not be written')
    }
  }

  function summaryOf(id: string): HistorySummary {
    const record = records.get(id)
    if (!record) return nothing
    const { uptime, observedSeconds } = record.day(clock.now().getTime())
    const last = record.last()
    return { last, uptime24h: uptime, observedSeconds, lastFailure: record.lastFailure() }
  }

  return {
    add(id, { kind, latencyMs, reason }, intervalMs) {
      let record = records.get(id)
      if (!record) {
        record = new CheckRecord()
        records.set(id, record)
        gone.delete(id)
      }
      const ok = kind === 'passed' || kind === 'ailing'
      const monotonicMs = clock.monotonicMs()
      const wallMs = clock.now().getTime()
      const check = { wallMs, monotonicMs, ok, latencyMs, reason, intervalMs }
      const lost = record.add(check, keepOfEach())
      dropped += lost
      unwritten += 1 - lost
      if (!waiting.has(id)) waiting.set(id, monotonicMs)
    },

    of(id) {
      const { uptime24h, observedSeconds, lastFailure } = summaryOf(id)
      const checks = records.get(id)?.results() ?? []
      return { uptime24h, observedSeconds, lastFailure, checks }
    },

    summaryOf,

    forget(id) {
      const record = records.get(id)
      if (record) unwritten -= record.unwritten
      records.delete(id)
      waiting.delete(id)
      if (written.delete(id)) gone.add(id)
    },

    get unwritten() {
      return unwritten
    },
    get dropped() {
      return dropped
    },

    async start(isKnown) {
      for await (const { id, history } of readHistories(db)) {
        if (!isKnown(id)) {
          gone.add(id)
          continue
        }
        written.add(id)
        const record = CheckRecord.decode(history)
        if (record && !records.has(id)) records.set(id, record)
      }
      next()
    },

    async stop() {
      stopped = true
      cancelTimer?.()
      let cancelDeadline: Cancel | undefined
      const deadline = new Promise<void>((resolve) => {
        cancelDeadline = clock.after(stopMs, resolve)
      })
      await Promise.race([writeRest(), deadline])
      cancelDeadline?.()
    },
  }
}

function firstOf<T>(items: Iterable<T>, limit: number): T[] {
  const first: T[] = []
  for (const item of items) {
    if (first.length === limit) break
    first.push(item)
  }
  return first
}
