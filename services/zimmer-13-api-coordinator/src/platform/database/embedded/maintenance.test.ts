import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { cloneDataDir, silentLog } from '../../../testing/databases.ts'
import type { Database, Log } from '../database.ts'
import type { MaintenanceSchedule } from './maintenance.ts'
import { openEmbedded } from './open.ts'

const megabyte = 1024 * 1024
const noMigrations = {}

interface Opened {
  readonly database: Database<unknown>
  readonly dataDir: string
  /** Runs every task once, as if its time had come. */
  tick(): Promise<void>
  vacuum(): Promise<void>
  readonly stopped: () => number
}

async function open(
  t: TestContext,
  schedule: Partial<MaintenanceSchedule> = {},
  log: Log = silentLog,
): Promise<Opened> {
  const dataDir = await cloneDataDir(noMigrations)
  t.after(() => fs.rmSync(dataDir, { recursive: true, force: true }))
  const tasks: (() => Promise<void>)[] = []
  let stopped = 0
  const database = await openEmbedded({
    dataDir,
    log,
    onFatal: assert.ifError,
    schedule: {
      every: (_intervalMs, task) => {
        tasks.push(task)
        return () => {
          stopped += 1
        }
      },
      checkpointBytes: 64 * megabyte,
      freezeAge: 200_000_000,
      ...schedule,
    },
  })
  t.after(() => database.close())
  const tick = async (): Promise<void> => {
    for (const task of tasks) await task()
  }
  const vacuum = async (): Promise<void> => tasks[1]?.()
  return { database, dataDir, tick, vacuum, stopped: () => stopped }
}

async function redo({ database }: Opened): Promise<string> {
  const { rows } = await database.pool.query(
    'select redo_lsn::text as lsn from pg_control_checkpoint()',
  )
  return rows[0].lsn
}

/** Of log alone, the quickest way to fill it. */
async function writeMegabytes({ database }: Opened, count: number): Promise<void> {
  for (let n = 0; n < count; n += 1) {
    await database.pool.query(
      `select pg_logical_emit_message(true, 'filler', repeat('x', ${megabyte}))`,
    )
  }
}

test('a checkpoint follows each 64 MB of log, and none before', async (t) => {
  const opened = await open(t)
  await opened.tick()
  const before = await redo(opened)
  await writeMegabytes(opened, 20)
  await opened.tick()
  assert.equal(await redo(opened), before)
  await writeMegabytes(opened, 50)
  await opened.tick()
  assert.notEqual(await redo(opened), before)
})

test('the log on disk stays bounded under load', async (t) => {
  const opened = await open(t, { checkpointBytes: 32 * megabyte })
  for (let round = 0; round < 7; round += 1) {
    await writeMegabytes(opened, 32)
    await opened.tick()
  }
  const wal = path.join(opened.dataDir, 'database', 'pg_wal')
  const segments = fs.readdirSync(wal).filter((name) => /^[0-9A-F]{24}$/.test(name))
  // More than 200 MB were written.
  assert.ok(segments.length * 16 <= 144, `${segments.length} segments`)
})

test('dead rows are vacuumed and changed tables analyzed, one table at a time', async (t) => {
  const opened = await open(t)
  const { pool } = opened.database
  await pool.query('create table busy (id int primary key, n int)')
  await pool.query('insert into busy select n, 0 from generate_series(1, 2000) n')
  await opened.tick()
  await pool.query('update busy set n = n + 1')
  await pool.query('update busy set n = n + 1')
  const stats = async (): Promise<{ dead: number; vacuums: number; analyzes: number }> => {
    // Statistics are otherwise up to a second late.
    await pool.query('select pg_stat_force_next_flush()')
    const { rows } = await pool.query(`
      select n_dead_tup as dead, vacuum_count as vacuums, analyze_count as analyzes
      from pg_stat_user_tables where relname = 'busy'`)
    return rows[0]
  }
  const before = await stats()
  assert.ok(before.dead > 1_000, `${before.dead} dead rows are known`)
  for (let round = 0; round < 20; round += 1) await opened.tick()
  const after = await stats()
  assert.ok(after.dead < 100, `${after.dead} dead rows are left`)
  assert.ok(after.vacuums > before.vacuums)
  assert.ok(after.analyzes > before.analyzes)
  const { rows } = await pool.query(`select count(*) as n from pg_stats where tablename = 'busy'`)
  assert.ok(rows[0].n > 0)
  await opened.tick()
  assert.deepEqual(await stats(), after, 'a table that needs nothing is left alone')
})

test('old transaction ids are frozen, of every table and of the whole cluster', async (t) => {
  const opened = await open(t, { freezeAge: 500 })
  const { pool } = opened.database
  await pool.query('create table busy (id int)')
  const client = await pool.connect()
  for (let n = 0; n < 700; n += 1) await client.query('select pg_current_xact_id()')
  client.release()
  const age = async (): Promise<number> => {
    const { rows } = await pool.query(
      'select max(age(datfrozenxid)) as age, count(*) as n from pg_database',
    )
    assert.equal(rows[0].n, 1, 'a database that nobody can vacuum would stop the house in the end')
    return rows[0].age
  }
  assert.ok((await age()) > 500)
  for (let round = 0; round < 150; round += 1) await opened.tick()
  assert.ok((await age()) <= 500, `the oldest id is ${await age()} transactions old`)
})

test('vacuum gives way while the connection is in use, and comes when it is free', async (t) => {
  const opened = await open(t)
  const { pool } = opened.database
  await pool.query('create table busy as select n from generate_series(1, 5000) n')
  await pool.query('select pg_stat_force_next_flush()')
  const steps = async (): Promise<number> => {
    const { rows } = await pool.query(`
      select vacuum_count + analyze_count as n from pg_stat_user_tables where relname = 'busy'`)
    return rows[0].n
  }
  const client = await pool.connect()
  await opened.vacuum()
  const waiting = pool.query('select 1')
  await opened.vacuum()
  client.release()
  await waiting
  assert.equal(await steps(), 0)
  await opened.vacuum()
  await pool.query('select pg_stat_force_next_flush()')
  assert.ok((await steps()) > 0)
})

test('a failing step is logged and the next one runs', async (t) => {
  const warnings: string[] = []
  const opened = await open(
    t,
    {},
    { ...silentLog, warn: (_fields, message) => warnings.push(message) },
  )
  const { pool } = opened.database
  const query = t.mock.method(pool, 'query', () => Promise.reject(new Error('injected by a test')))
  await opened.tick()
  query.mock.restore()
  assert.deepEqual(warnings, [
    'database maintenance failed: checkpoint',
    'database maintenance failed: vacuum',
  ])
  await opened.tick()
  assert.equal(warnings.length, 2)
})

test('closing stops every timer, and nothing runs afterwards', async (t) => {
  const opened = await open(t)
  await opened.database.close()
  assert.equal(opened.stopped(), 2)
  await opened.tick()
})

test('closing leaves nothing to recover', async (t) => {
  const opened = await open(t)
  await opened.database.pool.query(
    'create table filler as select repeat(md5(n::text), 32) from generate_series(1, 5000) n',
  )
  await opened.database.close()
  const control = fs.readFileSync(path.join(opened.dataDir, 'database', 'global', 'pg_control'))
  // DBState in pg_control, right after version and catalogue numbers: 1 is "shut down".
  assert.equal(control.readInt32LE(16), 1)
})
