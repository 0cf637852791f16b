import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import type { HausError } from '@haus/contract'
import { cloneDataDir, silentLog } from '../../../testing/databases.ts'
import { watchDisk } from '../../../testing/watched-disk.ts'
import type { Database } from '../database.ts'
import { openEmbedded } from './open.ts'

const noMigrations = {}

async function dataFolder(t: TestContext): Promise<string> {
  const folder = await cloneDataDir(noMigrations)
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }))
  return folder
}

interface Opened {
  readonly database: Database<unknown>
  /** Resolves with the error that would end the process. */
  readonly fatal: Promise<HausError>
  readonly fatalCount: () => number
}

async function open(t: TestContext, dataDir: string, workerUrl?: URL): Promise<Opened> {
  const { promise: fatal, resolve } = Promise.withResolvers<HausError>()
  let count = 0
  const database = await openEmbedded({
    dataDir,
    log: silentLog,
    onFatal: (error) => {
      count += 1
      resolve(error)
    },
    ...(workerUrl && { workerUrl }),
  })
  t.after(() => database.close())
  return { database, fatal, fatalCount: () => count }
}

test('every commit is synced to the disk before it is acknowledged', async (t) => {
  const { control, workerUrl } = watchDisk()
  const { database } = await open(t, await dataFolder(t), workerUrl)
  await database.pool.query('create table entry (id int)')
  for (let id = 0; id < 5; id += 1) {
    const before = control.walSyncs
    await database.pool.query('insert into entry values ($1)', [id])
    assert.ok(control.walSyncs > before, 'no sync between the insert and its answer')
  }
})

test('a checkpoint syncs data files and folders, not the log alone', async (t) => {
  const { control, workerUrl } = watchDisk()
  const { database } = await open(t, await dataFolder(t), workerUrl)
  await database.pool.query('create table entry as select generate_series(1, 1000) as id')
  const before = control.otherSyncs
  await database.pool.query('checkpoint')
  assert.ok(control.otherSyncs - before >= 2, `${control.otherSyncs - before} syncs`)
})

test('every file and folder of the database is for its owner only, whatever the umask', async (t) => {
  const dataDir = await dataFolder(t)
  const before = process.umask(0)
  t.after(() => process.umask(before))
  const { database } = await open(t, dataDir)
  await database.pool.query('create table entry as select generate_series(1, 1000) as id')
  await database.pool.query('select pg_switch_wal()')
  await database.pool.query('create index on entry (id)')
  await database.pool.query('checkpoint')
  const exposed = fs
    .readdirSync(dataDir, { recursive: true, encoding: 'utf8' })
    .filter((name) => (fs.statSync(path.join(dataDir, name)).mode & 0o077) !== 0)
  assert.deepEqual(exposed, [])
})

test('a full disk ends the engine once, with a sentence that says so, and fails what waits', async (t) => {
  const dataDir = await dataFolder(t)
  const { control, workerUrl } = watchDisk()
  const { database, fatal, fatalCount } = await open(t, dataDir, workerUrl)
  await database.pool.query('create table entry (id int)')
  await database.pool.query('insert into entry values (1)')
  // Checked out, since the loss of such a connection ends the process where nobody listens.
  const client = await database.pool.connect()
  control.fill()
  await assert.rejects(client.query('insert into entry values (2)'))
  const error = await fatal
  client.release()
  assert.equal(error.code, 'disk_full')
  assert.match(error.message, /is full/)
  await assert.rejects(database.pool.query('select 1'))
  await database.close()
  assert.equal(fatalCount(), 1)

  const again = await open(t, dataDir)
  const { rows } = await again.database.pool.query('select id from entry')
  assert.deepEqual(rows, [{ id: 1 }])
})

test('a table that cannot grow fails its statement and leaves the engine running', async (t) => {
  const { control, workerUrl } = watchDisk()
  const { database, fatalCount } = await open(t, await dataFolder(t), workerUrl)
  await database.pool.query('create table entry (id int)')
  control.fill()
  await assert.rejects(database.pool.query('insert into entry values (1)'), { code: '53100' })
  control.fill(false)
  await database.pool.query('insert into entry values (2)')
  assert.equal(fatalCount(), 0)
})

test('a failed sync is never acknowledged and ends the engine', async (t) => {
  const dataDir = await dataFolder(t)
  const { control, workerUrl } = watchDisk()
  const { database, fatal } = await open(t, dataDir, workerUrl)
  await database.pool.query('create table entry (id int)')
  control.breakSyncs()
  await assert.rejects(database.pool.query('insert into entry values (1)'))
  const error = await fatal
  assert.equal(error.code, 'database_corrupt')
  assert.match(error.message, /fsync|Input\/output|I\/O/i)
  assert.equal(error.exitCode, 70)
})

test('a trap in the engine ends it instead of spinning', async (t) => {
  const { control, workerUrl } = watchDisk()
  const { database, fatal } = await open(t, await dataFolder(t), workerUrl)
  await database.pool.query(
    `create table entry as select n as id, repeat('x', 500) as text from generate_series(1, 60000) n`,
  )
  control.springTrap()
  await assert.rejects(database.pool.query('select sum(length(text)) from entry'))
  assert.match((await fatal).message, /injected by a test/)
})

test('COPY FROM STDIN, which PGlite cannot do, ends the engine with a sentence', async (t) => {
  const { database, fatal } = await open(t, await dataFolder(t))
  await database.pool.query('create table entry (id int)')
  await assert.rejects(database.pool.query('copy entry from stdin'))
  assert.equal((await fatal).code, 'database_corrupt')
})

test('queries waiting for the connection fail too when the engine dies', async (t) => {
  const { control, workerUrl } = watchDisk()
  const { database, fatal } = await open(t, await dataFolder(t), workerUrl)
  await database.pool.query('create table entry as select 0 as id')
  control.fill()
  const waiting = Array.from({ length: 20 }, (_, id) =>
    database.pool.query('insert into entry values ($1)', [id]),
  )
  const outcomes = await Promise.allSettled(waiting)
  await fatal
  assert.deepEqual([...new Set(outcomes.map((outcome) => outcome.status))], ['rejected'])
})

test('a new connection finds no trace of the one before', async (t) => {
  const { database } = await open(t, await dataFolder(t))
  await database.pool.query('create table entry (id int)')
  const first = await database.pool.connect()
  await first.query(`set work_mem = '3MB'`)
  await first.query('create temp table leftover (id int)')
  await first.query('select pg_advisory_lock(13)')
  await first.query({ name: 'twice', text: 'select 1', values: [] })
  await first.query('begin')
  await first.query('insert into entry values (1)')
  first.release(true)

  const second = await database.pool.connect()
  try {
    const { rows } = await second.query(`
      select current_setting('work_mem') as work_mem, to_regclass('leftover') as leftover,
        (select count(*) from pg_locks where locktype = 'advisory') as locks,
        (select count(*) from entry) as entries`)
    assert.deepEqual(rows, [{ work_mem: '4MB', leftover: null, locks: 0, entries: 0 }])
    await second.query({ name: 'twice', text: 'select 2', values: [] })
  } finally {
    second.release()
  }
})

test('an abandoned transaction is rolled back although nobody connects again', async (t) => {
  const dataDir = await dataFolder(t)
  const { database } = await open(t, dataDir)
  await database.pool.query('create table entry (id int)')
  const client = await database.pool.connect()
  await client.query('begin')
  await client.query('insert into entry values (1)')
  client.release(true)
  await database.close()
  const { database: again } = await open(t, dataDir)
  assert.equal((await again.pool.query('select count(*) as n from entry')).rows[0].n, 0)
})

test('using the outer handle inside a transaction is an error, not a deadlock', async (t) => {
  const { database } = await open(t, await dataFolder(t))
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const client = await database.pool.connect()
  await client.query('begin')
  const nested = assert.rejects(database.pool.query('select 1'), /timeout exceeded/)
  t.mock.timers.tick(10_000)
  await nested
  await client.query('rollback')
  client.release()
  t.mock.timers.reset()
  assert.equal((await database.pool.query('select 1 as one')).rows[0].one, 1)
})

test('many replies leave no memory behind in the engine', async (t) => {
  const { database } = await open(t, await dataFolder(t))
  const read = async (): Promise<void> => {
    for (let round = 0; round < 10; round += 1) {
      await database.pool.query(`select repeat('x', 1000) as text from generate_series(1, 5000)`)
    }
  }
  await read()
  const before = process.memoryUsage.rss()
  await read()
  await read()
  await read()
  const grownBytes = process.memoryUsage.rss() - before
  // 150 MB went through; a path that keeps every message keeps them twice.
  assert.ok(grownBytes < 100e6, `resident memory grew by ${Math.round(grownBytes / 1e6)} MB`)
})
