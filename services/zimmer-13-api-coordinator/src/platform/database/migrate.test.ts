import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
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

const quiet = { log: silentLog }

const first = { '0001-room': creates('room') }
const second = { ...first, '0002-door': creates('door') }

for (const kind of databaseKinds) {
  const needs = needsDatabase(kind)

  test(`${kind}: migrations run once, in order, in the schema of Haus`, needs, async () => {
    await using database = await openTestDatabase(kind, { migrations: {} })
    assert.deepEqual(await migrate(database.db, first, quiet), { applied: ['0001-room'] })
    assert.deepEqual(await migrate(database.db, second, quiet), { applied: ['0002-door'] })
    assert.deepEqual(await migrate(database.db, second, quiet), { applied: [] })
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
    await assert.rejects(migrate(database.db, broken, quiet), /migration 0003-broken failed/)
    const { rows } = await database.pool.query(
      `select to_regclass('haus.door') as door, to_regclass('haus.half') as half`,
    )
    assert.deepEqual(rows, [{ door: null, half: null }])
    assert.deepEqual(await migrate(database.db, second, quiet), { applied: ['0002-door'] })
  })

  test(
    `${kind}: a database newer than the binary is refused by the migration it does not know`,
    needs,
    async () => {
      await using database = await openTestDatabase(kind, { migrations: second })
      await assert.rejects(migrate(database.db, first, quiet), {
        code: 'database_too_new',
        message: /"0002-door"/,
      })
    },
  )

  test(`${kind}: a migration out of order is refused`, needs, async () => {
    await using database = await openTestDatabase(kind, { migrations: second })
    await assert.rejects(
      migrate(database.db, { ...second, '0001-late': creates('late') }, quiet),
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
        return await migrate(start.db, counted, quiet)
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
    const newer = migrate(database.db, slow, quiet)
    await started
    const refused = assert.rejects(migrate(older.db, first, quiet), { code: 'database_too_new' })
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

test(
  'a start that waits for another one says so each second, and gives up with one sentence',
  needsDatabase('postgres'),
  async () => {
    await using database = await openTestDatabase('postgres', { migrations: {} })
    const { promise: started, resolve: start } = Promise.withResolvers<void>()
    const { promise: mayFinish, resolve: finish } = Promise.withResolvers<void>()
    const slow: Record<string, Migration> = {
      '0001-room': {
        up: async () => {
          start()
          await mayFinish
        },
      },
    }
    const waiting = await openDatabase({
      ...database.location,
      log: silentLog,
      onFatal: assert.ifError,
    })
    const holding = migrate(database.db, slow, quiet)
    await started
    const lines: string[] = []
    const log = { ...silentLog, warn: (_: object, line: string) => void lines.push(line) }
    await assert.rejects(migrate(waiting.db, slow, { log, lockTimeoutMs: 1_500 }), {
      code: 'migration_locked',
      message: /^another start of Haus .* \(PostgreSQL's process \d+\): wait until/,
    })
    assert.deepEqual(lines, ['waiting for another start to finish its migrations'])
    finish()
    await holding
    assert.deepEqual(await migrate(waiting.db, slow, quiet), { applied: [] })
    await waiting.close()
  },
)

test(
  'a role without the rights is told what to grant, and starts once it is granted',
  needsDatabase('postgres'),
  async (t) => {
    const database = await openTestDatabase('postgres', { migrations: {} })
    await database.pool.query('drop schema haus cascade')
    const role = `role_${randomBytes(8).toString('hex')}`
    await database.pool.query(`create role ${role} login password 'role'`)
    const url = new URL(database.location.url ?? '')
    url.username = role
    url.password = 'role'
    const weak = await openDatabase({
      url: url.href,
      dataDir: database.location.dataDir,
      log: silentLog,
      onFatal: assert.ifError,
    })
    t.after(async () => {
      await weak.close()
      await database.pool.query(`drop owned by ${role} cascade; drop role ${role}`)
      await database.cleanup()
    })
    const refusedWith = async (message: RegExp): Promise<void> => {
      const refused = migrate(weak.db, first, quiet)
      await assert.rejects(refused, { code: 'database_forbidden', message })
    }
    const name = url.pathname.slice(1)

    await refusedWith(new RegExp(`"grant create on database ${name} to ${role}"`))
    await migrate(database.db, first, quiet)
    await refusedWith(new RegExp(`"grant usage, create on schema haus to ${role}"`))
    await database.pool.query(`grant usage, create on schema haus to ${role}`)
    await refusedWith(/does not own the tables/)
    await database.pool.query('drop schema haus cascade')
    await database.pool.query(`grant create on database ${name} to ${role}`)
    assert.deepEqual(await migrate(weak.db, first, quiet), { applied: ['0001-room'] })
  },
)
