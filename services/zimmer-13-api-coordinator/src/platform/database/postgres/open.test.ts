import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { inspect } from 'node:util'
import type pg from 'pg'
import { silentLog } from '../../../testing/databases.ts'
import { createTestDatabase, needsPostgres } from '../../../testing/postgres-database.ts'
import { startPostgres } from '../../../testing/postgres-server.ts'
import { startStallingProxy } from '../../../testing/stalling-proxy.ts'
import { until } from '../../../testing/until.ts'
import type { Database, Log } from '../database.ts'
import { openPostgres, refuseUnfit, type OpenPostgresOptions } from './open.ts'

const needs = needsPostgres()
const password = 'canary-3c1f9a'

interface Lines {
  readonly log: Log
  readonly lines: string[]
}

function recordLog(): Lines {
  const lines: string[] = []
  const write = (fields: object, message: string): void => {
    lines.push(`${message} ${inspect(fields, { depth: 10, showHidden: true })}`)
  }
  return { log: { debug: write, info: write, warn: write, error: write }, lines }
}

async function open(
  t: TestContext,
  options: Partial<OpenPostgresOptions> & { url: string },
): Promise<Database<unknown>> {
  const database = await openPostgres({ log: silentLog, ...options })
  t.after(() => database.close())
  return database
}

test('a server that is not there is named by host and port, without the password', async () => {
  const { log, lines } = recordLog()
  const url = `postgres://haus:${password}@127.0.0.1:1/haus`
  await assert.rejects(openPostgres({ url, log, startTimeoutMs: 1_500 }), (error: unknown) => {
    assert.ok(error instanceof Error)
    assert.match(error.message, /^PostgreSQL at 127\.0\.0\.1:1 cannot be used: .*ECONNREFUSED/)
    assert.doesNotMatch(inspect(error, { depth: 10, showHidden: true }), /canary/)
    return 'code' in error && error.code === 'database_unreachable'
  })
  assert.ok(lines.length > 0, 'the wait is logged')
  assert.match(lines.join('\n'), /waiting for PostgreSQL/)
  assert.doesNotMatch(lines.join('\n'), /canary/)
})

test('a malformed URL is refused without being repeated', async () => {
  for (const url of [
    `postgres://haus:${password}@host:port:5432/x`,
    `mysql://haus:${password}@host/x`,
    password,
  ]) {
    await assert.rejects(
      openPostgres({ url, log: silentLog, startTimeoutMs: 0 }),
      (error: unknown) => {
        assert.ok(error instanceof Error && 'code' in error)
        assert.equal(error.code, 'config_invalid')
        assert.doesNotMatch(inspect(error, { depth: 10, showHidden: true }), /canary/)
        return true
      },
    )
  }
})

test('a wrong password is refused at once and not shown', needs, async (t) => {
  const database = await createTestDatabase()
  t.after(() => database.drop())
  const url = new URL(database.url)
  url.password = password
  const { log, lines } = recordLog()
  await assert.rejects(openPostgres({ url: url.href, log }), (error: unknown) => {
    assert.ok(error instanceof Error && 'code' in error)
    assert.equal(error.code, 'database_unreachable')
    assert.match(error.message, /password authentication failed/)
    assert.doesNotMatch(inspect(error, { depth: 10, showHidden: true }), /canary/)
    return true
  })
  assert.deepEqual(lines, [], 'no retry can mend a password')
})

test('TLS asked for in the URL is not given up when the server has none', needs, async (t) => {
  const database = await createTestDatabase()
  t.after(() => database.drop())
  await assert.rejects(
    openPostgres({ url: `${database.url}?sslmode=verify-full`, log: silentLog }),
    { code: 'database_unreachable', message: /SSL/ },
  )
})

test('an open database shows its password to nobody who prints it', needs, async (t) => {
  const empty = await createTestDatabase()
  t.after(() => empty.drop())
  const database = await open(t, { url: empty.url })
  const { promise: heard, resolve } = Promise.withResolvers<void>()
  await database.listen('any', () => resolve())
  await database.pool.query(`select pg_notify('any', '')`)
  await heard
  const secret = decodeURIComponent(new URL(empty.url).password)
  assert.ok(secret.length > 8)
  const client = await database.pool.connect()
  try {
    for (const value of [database, database.pool, database.ledgerPool, client]) {
      assert.ok(!inspect(value, { depth: 12 }).includes(secret))
    }
  } finally {
    client.release()
  }
})

test(
  'a connection that fell silent is not handed out again, also when it would speak once more',
  needs,
  async (t) => {
    const empty = await createTestDatabase()
    t.after(() => empty.drop())
    const proxy = await startStallingProxy(empty.url)
    t.after(() => proxy.close())
    const { pool } = await open(t, { url: proxy.url, queryTimeoutMs: 2_000 })
    const backendOf = async (client: pg.PoolClient): Promise<number> =>
      (await client.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]?.pid ?? 0

    const client = await pool.connect()
    const silentPid = await backendOf(client)
    proxy.stall()
    await assert.rejects(client.query('select 1'), { message: 'Query read timeout' })
    // As a caller does who only knows that his query has failed.
    client.release()
    proxy.resume()
    const next = await pool.connect()
    const nextPid = await backendOf(next)
    next.release()
    assert.notEqual(nextPid, silentPid)
    await until('the silent one is gone from the pool', () => pool.totalCount === 1)
  },
)

test('a server too old, in another encoding or read-only is refused by what is wrong', () => {
  const fit = { version: '16.14', encoding: 'UTF8', standby: false }
  refuseUnfit(fit, 'db:5432')
  refuseUnfit({ ...fit, version: '18.1 (Debian 18.1-1)' }, 'db:5432')
  const refused = (facts: Partial<typeof fit>, message: RegExp): void => {
    assert.throws(() => refuseUnfit({ ...fit, ...facts }, 'db:5432'), {
      code: 'database_incompatible',
      message,
    })
  }
  refused(
    { version: '15.7' },
    /^PostgreSQL at db:5432 is version 15\.7: upgrade it to PostgreSQL 16/,
  )
  refused({ version: '9.6.24' }, /version 9\.6\.24/)
  refused({ encoding: 'SQL_ASCII' }, /encoding UTF8/)
  refused({ standby: true }, /standby/)
})

test('the sessions carry name and limits, and the ledger has its own', needs, async (t) => {
  const empty = await createTestDatabase()
  t.after(() => empty.drop())
  const database = await open(t, { url: empty.url })
  assert.notEqual(database.ledgerPool, database.pool)
  for (const pool of [database.pool, database.ledgerPool]) {
    const { rows } = await pool.query(`
      select current_setting('application_name') as name, current_setting('statement_timeout') as statement,
        current_setting('idle_in_transaction_session_timeout') as idle`)
    assert.deepEqual(rows, [{ name: 'haus', statement: '15s', idle: '10s' }])
  }
  const readers = await Promise.all(
    Array.from({ length: database.pool.options.max }, () => database.pool.connect()),
  )
  const { rows } = await database.ledgerPool.query('select 1 as one')
  assert.deepEqual(rows, [{ one: 1 }])
  for (const reader of readers) reader.release()
})

test(
  'a connection lost while it is checked out fails its query and nothing else',
  needs,
  async (t) => {
    const empty = await createTestDatabase()
    t.after(() => empty.drop())
    const database = await open(t, { url: empty.url })
    const client = await database.ledgerPool.connect()
    const { rows } = await client.query('select pg_backend_pid() as pid')
    await database.pool.query('select pg_terminate_backend($1)', [rows[0].pid])
    await assert.rejects(client.query('select 1'))
    client.release(true)
    assert.deepEqual((await database.ledgerPool.query('select 1 as one')).rows, [{ one: 1 }])
  },
)

test(
  'a server that comes up late is waited for; one that restarts is found again',
  needs,
  async (t) => {
    const server = await startPostgres()
    t.after(() => server.stop())
    await server.kill9()
    const { log, lines } = recordLog()
    const opening = openPostgres({ url: server.url, log })
    await until('the wait is logged', () => lines.some((line) => line.includes('waiting for')))
    await server.restart()
    const database = await opening
    t.after(() => database.close())

    const heard: string[] = []
    await database.listen('news', (payload) => heard.push(payload))
    await database.ledgerPool.query('select 1')
    await server.kill9()
    await assert.rejects(database.pool.query('select 1'))
    await assert.rejects(database.ledgerPool.query('select 1'))
    await server.restart()
    await until('both pools answer', async () => {
      const answers = await Promise.allSettled([
        database.pool.query('select 1'),
        database.ledgerPool.query('select 1'),
      ])
      return answers.every(({ status }) => status === 'fulfilled')
    })
    await until('the listener is back', async () => {
      await database.pool.query(`select pg_notify('news', 'after')`)
      return heard.includes('after')
    })
    assert.ok(lines.some((line) => line.includes('connection lost')))
  },
)
