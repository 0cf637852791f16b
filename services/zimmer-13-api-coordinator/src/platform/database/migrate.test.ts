import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sql } from 'kysely'
import {
  databaseKinds,
  needsDatabase,
  openTestDatabase,
  silentLog,
} from '../../testing/databases.ts'
import { until } from '../../testing/until.ts'
import { migrate, openDatabase, type Migration } from './index.ts'

function creates(table: string): Migration {
  return {
    up: async (db) => {
      await db.schema.createTable(table).addColumn('id', 'integer').execute()
    },
  }
}

const first = { '0001-room': creates('room') }
const second = { ...first, '0002-door': creates('door') }

for (const kind of databaseKinds) {
  const needs = needsDatabase(kind)

  test(`${kind}: migrations run once, in order, in the schema of Haus`, needs, async () => {
    await using database = await openTestDatabase(kind, { migrations: {} })
    assert.deepEqual(await migrate(database.db, first), { applied: ['0001-room'] })
    assert.deepEqual(await migrate(database.db, second), { applied: ['0002-door'] })
    assert.deepEqual(await migrate(database.db, second), { applied: [] })
    const { rows } = await database.pool.query(`
      select table_name as name from information_schema.tables
      where table_schema = 'haus' order by table_name`)
    assert.deepEqual(
      rows.map(({ name }) => name),
      ['door', 'migration', 'migration_lock', 'room'],
    )
  })

  test(`${kind}: a migration that fails leaves the schema as it was`, needs, async () => {
    await using database = await openTestDatabase(kind, { migrations: first })
    const broken = {
      ...second,
      '0003-broken': {
        up: async (db) => {
          await db.schema.createTable('half').addColumn('id', 'integer').execute()
          await sql`select 1/0`.execute(db)
        },
      } satisfies Migration,
    }
    await assert.rejects(migrate(database.db, broken), /migration 0003-broken failed/)
    const { rows } = await database.pool.query(
      `select to_regclass('haus.door') as door, to_regclass('haus.half') as half`,
    )
    assert.deepEqual(rows, [{ door: null, half: null }])
    assert.deepEqual(await migrate(database.db, second), { applied: ['0002-door'] })
  })

  test(
    `${kind}: a database newer than the binary is refused by the migration it does not know`,
    needs,
    async () => {
      await using database = await openTestDatabase(kind, { migrations: second })
      await assert.rejects(migrate(database.db, first), {
        code: 'database_too_new',
        message: /"0002-door"/,
      })
    },
  )

  test(`${kind}: a migration out of order is refused`, needs, async () => {
    await using database = await openTestDatabase(kind, { migrations: second })
    await assert.rejects(
      migrate(database.db, { ...second, '0001-late': creates('late') }),
      /cannot be run/,
    )
  })
}

test(
  'twenty starts at the same moment on one PostgreSQL all succeed and migrate once',
  needsDatabase('postgres'),
  async () => {
    await using database = await openTestDatabase('postgres', { migrations: {} })
    await database.pool.query('drop schema haus cascade')
    let runs = 0
    const counted: Record<string, Migration> = {
      '0001-room': {
        up: async (db) => {
          runs += 1
          await db.schema.createTable('room').addColumn('id', 'integer').execute()
        },
      },
      '0002-door': creates('door'),
    }
    const starts = Array.from({ length: 20 }, async () => {
      const start = await openDatabase({
        ...database.location,
        log: silentLog,
        onFatal: assert.ifError,
      })
      try {
        return await migrate(start.db, counted)
      } finally {
        await start.close()
      }
    })
    const outcomes = await Promise.all(starts)
    assert.equal(runs, 1)
    assert.deepEqual(
      outcomes.map(({ applied }) => applied.length).toSorted((a, b) => b - a),
      [2, ...Array.from({ length: 19 }, () => 0)],
    )
  },
)

test(
  'an old binary that starts while a newer one migrates is told that the database is too new',
  needsDatabase('postgres'),
  async () => {
    await using database = await openTestDatabase('postgres', { migrations: first })
    const { promise: started, resolve: start } = Promise.withResolvers<void>()
    const { promise: mayFinish, resolve: finish } = Promise.withResolvers<void>()
    const slow: Record<string, Migration> = {
      ...first,
      '0002-door': {
        up: async () => {
          start()
          await mayFinish
        },
      },
    }
    const older = await openDatabase({
      ...database.location,
      log: silentLog,
      onFatal: assert.ifError,
    })
    const newer = migrate(database.db, slow)
    await started
    const refused = assert.rejects(migrate(older.db, first), { code: 'database_too_new' })
    await until('the older one waits', async () => {
      const { rows } = await database.pool.query(
        `select 1 from pg_locks where locktype = 'advisory' and not granted`,
      )
      return rows.length > 0
    })
    finish()
    await Promise.all([newer, refused])
    await older.close()
  },
)
