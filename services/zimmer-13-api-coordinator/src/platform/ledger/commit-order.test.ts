/** The order of the ledger is the order of its commits, over two processes and one PostgreSQL. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import pg from 'pg'
import { migrations } from '../../migrations/index.ts'
import { runChild } from '../../testing/child-program.ts'
import { silentLog } from '../../testing/databases.ts'
import { postgresUnavailable, startPostgres } from '../../testing/postgres-server.ts'
import { migrate, openDatabase } from '../database/index.ts'

const reason = postgresUnavailable()
const program = new URL('../../testing/programs/append-history.ts', import.meta.url)
const rounds = 60
/** Then each waits for the other. */
const roundsBetweenMeetings = 15

test(
  'two processes append random histories: index order is commit order, and no reader ever sees a gap',
  { ...(reason !== undefined && { skip: reason }), timeout: 120_000 },
  async (t) => {
    const server = await startPostgres()
    t.after(() => server.stop())
    const dataDir = fs.mkdtempSync(path.join(tmpdir(), 'haus-test-'))
    t.after(() => fs.rmSync(dataDir, { recursive: true, force: true }))
    const setting = new pg.Client({ connectionString: server.url })
    await setting.connect()
    await setting.query('alter system set track_commit_timestamp = on')
    await setting.end()
    await server.restart()

    const database = await openDatabase<unknown>({
      url: server.url,
      dataDir,
      log: silentLog,
      onFatal: (error) => {
        throw error
      },
    })
    t.after(() => database.close())
    await migrate(database.db, migrations, { log: silentLog })
    const { pool } = database
    await pool.query('create table haus.counter (id text primary key, value int not null)')
    await pool.query(
      `insert into haus.counter select 'counters/' || n, 0 from generate_series(0, 11) n`,
    )

    const seeds = [Date.now() % 1_000_000, (Date.now() % 1_000_000) + 7_919]
    t.diagnostic(`seeds ${seeds.join(' and ')}`)
    const writers = seeds.map((seed) => {
      const numbers = [seed, rounds, roundsBetweenMeetings, seeds.length].map(String)
      const args = [server.url, dataDir, ...numbers]
      const child = runChild(program, args)
      t.after(() => child.kill())
      return child
    })
    await Promise.all(writers.map((writer) => writer.line(/^ready$/)))
    await pool.query(`insert into haus.counter values ('go', 0)`)

    // A reader that looks again and again, and must find each time what follows without a gap.
    const tables = [
      { table: 'ledger_event', key: 'index', last: 0, looks: 0 },
      { table: 'audit', key: 'id', last: 0, looks: 0 },
    ]
    const finished = Promise.all(writers.map((writer) => writer.line(/^seen /)))
    let writing = true
    const stop = (): void => {
      writing = false
    }
    finished.then(stop, stop)
    do {
      for (const place of tables) {
        const { rows } = await pool.query<{ key: number }>(
          `select ${place.key} as key from haus.${place.table} where ${place.key} > $1 order by 1`,
          [place.last],
        )
        if (rows.length > 0) place.looks++
        for (const { key } of rows)
          assert.equal(key, ++place.last, `${place.table}: a gap was seen`)
      }
      // oxlint-disable-next-line eslint/no-unmodified-loop-condition -- set when the writers have finished
    } while (writing)

    const told = await finished
    assert.equal(new Set(told).size, 1, 'both were told the same events in the same order')
    for (const writer of writers) assert.deepEqual(await writer.ended, { code: 0, signal: null })

    for (const { table, key, last, looks } of tables) {
      assert.ok(looks > 5, `the reader saw ${table} grow`)
      const { rows } = await pool.query<{ key: number; late: boolean }>(
        `select ${key} as key, at < max(at) over (order by ${key} rows between unbounded preceding and 1 preceding) as late
         from (select ${key}, pg_xact_commit_timestamp(xmin) as at from haus.${table}) r order by 1`,
      )
      assert.equal(rows.length, last)
      assert.deepEqual(
        rows.filter(({ late }) => late).map((row) => row.key),
        [],
        `${table}: committed before one of a lower number`,
      )
    }

    const { rows: stored } = await pool.query<{ index: number; writer: string }>(
      `select index, data->>'writer' as writer from haus.ledger_event order by index`,
    )
    for (const [n, writer] of writers.entries()) {
      for (const line of writer.lines) {
        const index = /^acknowledged (\d+)$/.exec(line)?.[1]
        if (index !== undefined) {
          assert.equal(stored[Number(index) - 1]?.writer, String(seeds[n]), line)
        }
      }
    }
    const turns = stored.filter((row, n) => n > 0 && row.writer !== stored[n - 1]?.writer).length
    // One between two meetings; how many more depends on the scheduler.
    assert.ok(turns >= rounds / roundsBetweenMeetings, `the writers took turns ${turns} times`)
  },
)
