/**
 * The housekeeping that PostgreSQL's background processes do and PGlite has none of: checkpoints,
 * vacuum, analyze, freezing of old transaction ids.
 *
 * It queues on the same one connection as everybody else, so it never runs inside a transaction,
 * and does at most one step at a time, because nothing can interrupt a step and every flush waits
 * for it.
 */
import type { Pool } from 'pg'
import type { Log } from '../database.ts'

/** When to do what. Tests drive it by hand through `every`. */
export interface MaintenanceSchedule {
  /** Runs the task every `intervalMs` until the returned function is called; must not keep the process alive. */
  readonly every: (intervalMs: number, task: () => Promise<void>) => () => void
  readonly checkpointBytes: number
  readonly freezeAge: number
}

/**
 * 64 MB of WAL is about a second of recovery; without checkpoints 30 s of load left 447 MB and a
 * restart of 5.5 s. Freezing at 200 million is PostgreSQL's own choice; ids run out at 2 billion,
 * which is 50 days at full load.
 */
const defaultSchedule: MaintenanceSchedule = {
  every: (intervalMs, task) => {
    const timer = setInterval(() => void task(), intervalMs).unref()
    return () => clearInterval(timer)
  },
  checkpointBytes: 64 * 1024 * 1024,
  freezeAge: 200_000_000,
}

/** The fastest writer seen makes 25 MB of WAL a second: a look each second overshoots by less than half. */
const walIntervalMs = 1_000
const vacuumIntervalMs = 30_000
/** How often a step gives way to other work before it is due regardless: half an hour. */
const maxPostponements = 60

export interface Maintenance {
  /** Waits for a step under way. */
  stop(): Promise<void>
}

export function startMaintenance(options: {
  readonly pool: Pool
  readonly log: Log
  readonly schedule?: MaintenanceSchedule | undefined
}): Maintenance {
  const { pool, log } = options
  const schedule = options.schedule ?? defaultSchedule
  let stopped = false
  let running: Promise<void> | undefined
  let checkpointLsn: string | undefined
  let postponements = 0

  const step = async (name: string, work: () => Promise<void>): Promise<void> => {
    if (stopped || running) return
    running = work()
      .catch((error: unknown) => {
        if (!stopped) log.warn({ err: error }, `database maintenance failed: ${name}`)
      })
      .finally(() => {
        running = undefined
      })
    await running
  }

  const checkpointWhenDue = async (): Promise<void> => {
    const { rows } = await pool.query<{ lsn: string; written: number }>(
      `select l.lsn::text as lsn, (l.lsn - coalesce($1::pg_lsn, l.lsn))::int8 as written
       from (select pg_current_wal_insert_lsn() as lsn) l`,
      [checkpointLsn],
    )
    const wal = rows[0]
    if (!wal) return
    checkpointLsn ??= wal.lsn
    if (wal.written < schedule.checkpointBytes) return
    await pool.query('checkpoint')
    checkpointLsn = wal.lsn
    log.debug({ walBytes: wal.written }, 'embedded database checkpoint')
  }

  const vacuumWhenDue = async (): Promise<void> => {
    if (isBusy(pool) && ++postponements < maxPostponements) return
    postponements = 0
    const { rows } = await pool.query<{ name: string; due: string }>(mostInNeed, [
      schedule.freezeAge,
    ])
    const table = rows[0]
    if (!table) return
    await pool.query(`${statements[table.due] ?? 'analyze'} ${table.name}`)
    log.debug(table, 'embedded database maintenance')
  }

  const stops = [
    schedule.every(walIntervalMs, () => step('checkpoint', checkpointWhenDue)),
    schedule.every(vacuumIntervalMs, () => step('vacuum', vacuumWhenDue)),
  ]
  return {
    stop: async () => {
      stopped = true
      for (const stop of stops) stop()
      await running
    },
  }
}

/**
 * Somebody has the connection, or waits for it. A ledger under load keeps it, so that nobody waits:
 * a vacuum of the audit in the middle of that held up its writers for half a second.
 */
function isBusy({ waitingCount, idleCount, totalCount }: Pool): boolean {
  return waitingCount > 0 || idleCount < totalCount
}

const statements: Record<string, string> = {
  freeze: 'vacuum (freeze)',
  vacuum: 'vacuum (analyze, truncate false)',
  analyze: 'analyze',
}

/** The thresholds of autovacuum; system catalogues count too, since only they age in a quiet house. */
const mostInNeed = `
  select name, due from (
    select format('%I.%I', n.nspname, c.relname) as name,
      case
        when age(c.relfrozenxid) > $1 then 'freeze'
        when s.n_dead_tup > 50 + 0.2 * greatest(c.reltuples, 0)
          or s.n_ins_since_vacuum > 1000 + 0.2 * greatest(c.reltuples, 0) then 'vacuum'
        when s.n_mod_since_analyze > 50 + 0.1 * greatest(c.reltuples, 0) then 'analyze'
      end as due,
      age(c.relfrozenxid) as age, s.n_dead_tup as dead, s.n_mod_since_analyze as changed
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    left join pg_stat_all_tables s on s.relid = c.oid
    where c.relkind in ('r', 'm') and c.relpersistence = 'p'
  ) t
  where due is not null
  order by due = 'freeze' desc, case when due = 'freeze' then age end desc, dead desc nulls last, changed desc nulls last
  limit 1`
