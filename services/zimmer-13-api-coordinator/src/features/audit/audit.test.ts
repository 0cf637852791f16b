import assert from 'node:assert/strict'
import { after, test, type TestContext } from 'node:test'
import { listAudit } from '@haus/contract'
import { systemClock } from '../../platform/clock/clock.ts'
import { migrations } from '../../migrations/index.ts'
import {
  databaseKinds,
  needsDatabase,
  openTestDatabase,
  reuseDatabases,
} from '../../testing/databases.ts'
import { startHttpServer } from '../../testing/http-server.ts'
import { until } from '../../testing/until.ts'
import type { LedgerTables } from '../../platform/ledger/table.ts'
import { auditRoutes } from './index.ts'

reuseDatabases(after)

interface Page {
  items: { id: number; target: string; action: string }[]
  nextCursor: string | null
}

async function open(t: TestContext, kind: (typeof databaseKinds)[number]) {
  const database = await openTestDatabase<LedgerTables>(kind, { migrations })
  t.after(() => database.cleanup())
  const status = { readable: true }
  const server = await startHttpServer({
    surface: (routes) =>
      auditRoutes(routes, database.readDb, { status: () => status as never }, systemClock),
  })
  t.after(() => server.close())
  const get = (query: Record<string, string> = {}): Promise<Response> =>
    fetch(`${server.url}${listAudit.path}?${new URLSearchParams(query).toString()}`, {
      headers: { authorization: 'Bearer operator-token' },
    })
  /** Every page from the first to the last. */
  const pages = async (query: Record<string, string>): Promise<Page[]> => {
    const all: Page[] = []
    for (let cursor: string | null = ''; cursor !== null && all.length < 100;) {
      const answer = await get(cursor === '' ? query : { ...query, cursor })
      assert.equal(answer.status, 200)
      const page = (await answer.json()) as Page
      all.push(page)
      cursor = page.nextCursor
    }
    return all
  }
  return { database, status, get, pages }
}

/** Ids from `from` to `to`; every 1,000th of another target and action, by another actor. */
function records(from: number, to: number): string {
  return `insert into haus.audit (id, time, actor, action, target, outcome, detail)
    select n, now(),
      case when n % 1000 = 0 then 'service:rare' else 'operator' end,
      case when n % 1000 = 0 then 'rare' else 'common' end,
      case when n % 1000 = 0 then 'services/rare' else 'services/common' end,
      case when n % 1000 = 0 then 'denied' else 'allowed' end, '{}'
    from generate_series(${from}, ${to}) n`
}

const ids = (page: Page | undefined): number[] => page?.items.map(({ id }) => id) ?? []

for (const kind of databaseKinds) {
  const matrix = needsDatabase(kind)

  test(
    `${kind}: the audit is paged newest first, each record once, and ends with no cursor`,
    matrix,
    async (t) => {
      const { database, pages } = await open(t, kind)
      assert.deepEqual(await pages({}), [{ items: [], nextCursor: null }])
      await database.pool.query(records(1, 250))
      const all = await pages({})
      assert.deepEqual(
        all.map((page) => page.items.length),
        [100, 100, 50],
      )
      const expected = Array.from({ length: 250 }, (_, n) => 250 - n)
      assert.deepEqual(all.flatMap(ids), expected)
      assert.equal((await pages({ limit: '125' })).length, 2, 'a full last page is the last')
    },
  )

  test(
    `${kind}: a filter looks at 10,000 records a page; a short page goes on where it stopped looking`,
    matrix,
    async (t) => {
      const { database, pages } = await open(t, kind)
      // As after a round of retention: the history does not begin at 1.
      await database.pool.query(records(5_001, 27_500))
      const rare = (from: number, to: number): number[] =>
        Array.from({ length: (from - to) / 1_000 + 1 }, (_, n) => from - n * 1_000)
      for (const filter of [
        { target: 'services/rare' },
        { actor: 'service:rare' },
        { action: 'rare', outcome: 'denied' },
      ]) {
        const all = await pages(filter)
        assert.deepEqual(all.map(ids), [
          rare(27_000, 18_000),
          rare(17_000, 8_000),
          rare(7_000, 6_000),
        ])
      }
      const small = await pages({ target: 'services/rare', limit: '7' })
      assert.deepEqual(small.map(ids), [
        rare(27_000, 21_000),
        rare(20_000, 14_000),
        rare(13_000, 7_000),
        rare(6_000, 6_000),
      ])
      const none = await pages({ target: 'services/never' })
      assert.deepEqual(none.map(ids), [[], [], []])
    },
  )

  test(`${kind}: a cursor that is none of the audit is refused by name`, matrix, async (t) => {
    const { get } = await open(t, kind)
    for (const key of ['1:name', '1:9999999999999999', '1:-1']) {
      const answer = await get({ cursor: Buffer.from(key).toString('base64url') })
      assert.equal(answer.status, 400)
      assert.match(await answer.text(), /query\.cursor/)
    }
  })

  test(
    `${kind}: a database that does not answer is 503 with Retry-After after a second`,
    matrix,
    async (t) => {
      const { database, get, status } = await open(t, kind)
      // The one connection of an embedded database; on PostgreSQL what is to be read.
      const holder = await database.pool.connect()
      await holder.query('begin; lock table haus.audit in access exclusive mode')
      const startedAtMs = performance.now()
      await assertAway(await get())
      const waitedMs = performance.now() - startedAtMs
      assert.ok(waitedMs > 900 && waitedMs < 5_000, `waited ${waitedMs} ms`)
      status.readable = false
      await assertAway(await get())
      status.readable = true
      await holder.query('rollback')
      holder.release()
      // On a machine that stands still for a second the next one is late again.
      await until('it answers again', async () => (await get()).status === 200)
    },
  )
}

test(
  'a connection that breaks under the query is 503 with Retry-After',
  needsDatabase('postgres'),
  async (t) => {
    const { database, get } = await open(t, 'postgres')
    const holder = await database.pool.connect()
    await holder.query('begin; lock table haus.audit in access exclusive mode')
    const answer = get()
    const ended = async (): Promise<boolean> => {
      // Not on the holder: in a transaction the activity is a snapshot.
      const { rowCount } = await database.ledgerPool.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock'`,
      )
      return (rowCount ?? 0) > 0
    }
    await until('the reader waits and is ended', ended)
    await assertAway(await answer)
    await holder.query('rollback')
    holder.release()
    // A new connection is made for it, which may take longer than the second on a busy machine.
    await until('it answers again', async () => (await get()).status === 200)
  },
)

async function assertAway(answer: Response): Promise<void> {
  assert.equal(answer.status, 503)
  assert.equal(answer.headers.get('retry-after'), '1')
  assert.equal(((await answer.json()) as { code: string }).code, 'writes_unavailable')
}
