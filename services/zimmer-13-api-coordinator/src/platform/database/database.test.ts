import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { sql } from 'kysely'
import pg from 'pg'
import {
  databaseKinds,
  needsDatabase,
  openTestDatabase,
  reuseDatabases,
} from '../../testing/databases.ts'
import type { Migration } from './index.ts'

reuseDatabases(after)

interface Tables {
  thing: { id: number; name: string; big: number | null; body: unknown; raw: Buffer | null }
}

const migrations: Record<string, Migration> = {
  '0001-thing': {
    up: async (db) => {
      await db.schema
        .createTable('thing')
        .addColumn('id', 'integer', (column) => column.primaryKey())
        .addColumn('name', 'text', (column) => column.notNull().unique())
        .addColumn('big', 'bigint')
        .addColumn('body', 'jsonb')
        .addColumn('raw', 'bytea')
        .execute()
    },
  },
}

for (const kind of databaseKinds) {
  const needs = needsDatabase(kind)

  test(`${kind}: values arrive as the same JavaScript types`, needs, async () => {
    await using database = await openTestDatabase<Tables>(kind, { migrations })
    const { rows } = await database.pool.query(`
      select 9007199254740991::int8 as big, '{1,NULL,3}'::int8[] as bigs, count(*) as counted,
        timestamptz '2026-11-23 10:00:00.123+02' as at, '{"a": [1, null]}'::jsonb as body,
        '\\x00ff'::bytea as raw, date '2026-11-23' as day, timestamp '2026-11-23 10:00' as local,
        1.50::numeric as amount, true as yes, '{a,b}'::text[] as texts, null::int8 as nothing,
        '01890000-0000-7000-8000-000000000000'::uuid as id, 1.5::float8 as float, 'x'::text as text`)
    assert.deepEqual(rows, [
      {
        big: Number.MAX_SAFE_INTEGER,
        bigs: [1, null, 3],
        counted: 1,
        at: new Date('2026-11-23T08:00:00.123Z'),
        body: { a: [1, null] },
        raw: Buffer.from([0, 255]),
        day: '2026-11-23',
        local: '2026-11-23 10:00:00',
        amount: '1.50',
        yes: true,
        texts: ['a', 'b'],
        nothing: null,
        id: '01890000-0000-7000-8000-000000000000',
        float: 1.5,
        text: 'x',
      },
    ])
  })

  test(`${kind}: a bigint that JavaScript would round is an error`, needs, async () => {
    await using database = await openTestDatabase<Tables>(kind, { migrations })
    await assert.rejects(database.pool.query('select 9007199254740993::int8'), RangeError)
    await assert.rejects(database.pool.query(`select '{9007199254740993}'::int8[]`), RangeError)
    assert.equal((await database.pool.query('select 1 as one')).rows[0].one, 1)
  })

  test(
    `${kind}: a broken constraint arrives as a driver error with code, table and constraint`,
    needs,
    async () => {
      await using database = await openTestDatabase<Tables>(kind, { migrations })
      const insert = (): Promise<unknown> =>
        database.db
          .insertInto('thing')
          .values({ id: 1, name: 'a', big: null, body: null, raw: null })
          .execute()
      await insert()
      await assert.rejects(insert(), (error: unknown) => {
        assert.ok(error instanceof pg.DatabaseError)
        assert.equal(error.code, '23505')
        assert.equal(error.schema, 'haus')
        assert.equal(error.table, 'thing')
        assert.equal(error.constraint, 'thing_pkey')
        return true
      })
    },
  )

  test(
    `${kind}: a failed transaction leaves nothing and the connection usable`,
    needs,
    async () => {
      await using database = await openTestDatabase<Tables>(kind, { migrations })
      const row = { name: 'a', big: 7, body: JSON.stringify({ n: 1 }), raw: Buffer.from('raw') }
      await assert.rejects(
        database.db.transaction().execute(async (trx) => {
          await trx
            .insertInto('thing')
            .values({ id: 1, ...row })
            .execute()
          await trx
            .insertInto('thing')
            .values({ id: 2, ...row })
            .execute()
        }),
        { code: '23505' },
      )
      assert.deepEqual(await database.db.selectFrom('thing').selectAll().execute(), [])
      await database.db
        .insertInto('thing')
        .values({ id: 1, ...row })
        .execute()
      assert.deepEqual(await database.db.selectFrom('thing').selectAll().execute(), [
        { id: 1, name: 'a', big: 7, body: { n: 1 }, raw: Buffer.from('raw') },
      ])
    },
  )

  test(`${kind}: isolation levels and savepoints are honoured`, needs, async () => {
    await using database = await openTestDatabase<Tables>(kind, { migrations })
    const level = await database.db
      .transaction()
      .setIsolationLevel('serializable')
      .execute((trx) =>
        sql<{ level: string }>`select current_setting('transaction_isolation') as level`.execute(
          trx,
        ),
      )
    assert.equal(level.rows[0]?.level, 'serializable')
    const client = await database.ledgerPool.connect()
    try {
      await client.query('begin')
      await client.query(`insert into haus.thing (id, name) values (1, 'a')`)
      await client.query('savepoint one')
      await assert.rejects(client.query(`insert into haus.thing (id, name) values (2, 'a')`))
      await client.query('rollback to savepoint one')
      await client.query('commit')
    } finally {
      client.release()
    }
    const { rows } = await database.pool.query('select id from haus.thing')
    assert.deepEqual(rows, [{ id: 1 }])
  })

  test(`${kind}: a large value and a large result travel whole`, needs, async () => {
    await using database = await openTestDatabase<Tables>(kind, { migrations })
    const raw = Buffer.alloc(5_000_000, 'haus')
    await database.pool.query(`insert into haus.thing (id, name, raw) values (1, 'a', $1)`, [raw])
    const { rows } = await database.pool.query<{ raw: Buffer }>('select raw from haus.thing')
    assert.ok(rows[0]?.raw.equals(raw))
    const many = await database.pool.query(
      'select n, repeat($1, 50) as text from generate_series(1, 20000) n',
      ['x'],
    )
    assert.equal(many.rows.length, 20_000)
    assert.equal(many.rows.at(-1).n, 20_000)
  })

  test(`${kind}: a notification reaches its listener until it unsubscribes`, needs, async () => {
    await using database = await openTestDatabase<Tables>(kind, { migrations })
    const heard: string[] = []
    const waiting = new Map<string, () => void>()
    const notified = (payload: string): void => {
      heard.push(payload)
      waiting.get(payload)?.()
    }
    const notify = async (payload: string): Promise<void> => {
      const { promise, resolve } = Promise.withResolvers<void>()
      waiting.set(payload, resolve)
      await database.pool.query('select pg_notify($1, $2)', ['Odd "channel"', payload])
      await promise
    }
    const stop = await database.listen('Odd "channel"', notified)
    await notify('one')
    // A failed query replaces the connection of the embedded pool; subscriptions have to survive it.
    await assert.rejects(database.pool.query('select 1/0'), { code: '22012' })
    await notify('two')
    const stopOther = await database.listen('Odd "channel"', (payload) => waiting.get(payload)?.())
    await stop()
    await notify('three')
    await stopOther()
    assert.deepEqual(heard, ['one', 'two'])
  })

  test(`${kind}: what was committed is there after reopening`, needs, async () => {
    await using first = await openTestDatabase<Tables>(kind, { migrations })
    await first.pool.query(`insert into haus.thing (id, name) values (1, 'a')`)
    await using second = await first.reopen()
    assert.equal((await second.pool.query('select name from haus.thing')).rows[0].name, 'a')
  })

  test(
    `${kind}: close is quick, may be called twice, and ends every later query`,
    needs,
    async () => {
      await using database = await openTestDatabase<Tables>(kind, { migrations })
      await database.listen('any', () => {})
      const startedAt = performance.now()
      await Promise.all([database.close(), database.close()])
      assert.ok(performance.now() - startedAt < 3_000)
      await assert.rejects(database.pool.query('select 1'))
      await assert.rejects(database.db.selectFrom('thing').selectAll().execute())
    },
  )

  test(
    `${kind}: close returns in time although a transaction is never finished`,
    needs,
    async () => {
      await using database = await openTestDatabase<Tables>(kind, { migrations })
      const client = await database.pool.connect()
      await client.query('begin')
      const startedAt = performance.now()
      await database.close()
      assert.ok(performance.now() - startedAt < 3_500)
    },
  )
}
