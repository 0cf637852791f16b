/** Reads of requests that PostgreSQL does not answer. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sql } from 'kysely'
import pg from 'pg'
import { migrations } from '../../migrations/index.ts'
import { needsDatabase, openTestDatabase, silentLog } from '../../testing/databases.ts'
import { until } from '../../testing/until.ts'
import { systemClock } from '../clock/clock.ts'
import type { Log } from '../log/log.ts'
import { createLedger } from './create-ledger.ts'
import { createDatabaseRead } from './database-read.ts'
import type { Entry } from './ledger.ts'
import type { LedgerTables } from './table.ts'

const entry: Entry = {
  keys: [],
  writes: [],
  events: [{ type: 'test', subject: 's', service: null, data: {} }],
  audit: null,
}

test(
  'reads that hang on a lock are refused after a second and hold up neither writes nor the follower',
  needsDatabase('postgres'),
  async (t) => {
    const database = await openTestDatabase<LedgerTables>('postgres', { migrations })
    t.after(() => database.cleanup())
    const ledger = createLedger<LedgerTables>({
      database,
      clock: systemClock,
      log: silentLog as Log,
      projections: [],
      writeTimeoutMs: 30_000,
    })
    await ledger.start()
    t.after(() => ledger.stop(1_000))
    const read = createDatabaseRead({
      readable: () => ledger.status().readable,
      clock: systemClock,
      detail: 'The database is away.',
    })
    const blocker = new pg.Client({ connectionString: database.location.url })
    // If the test fails, the database is dropped under it.
    blocker.on('error', () => {})
    await blocker.connect()
    await blocker.query('begin; lock table haus.credential_version in access exclusive mode')

    // More than there are connections: the rest waits for one.
    const reads = Array.from({ length: 24 }, () =>
      read(() => sql`select 1 from haus.credential_version`.execute(database.readDb)),
    )
    let refused = 0
    for (const each of reads) {
      each.catch((error: { code?: string }) => {
        if (error.code === 'writes_unavailable') refused++
      })
    }
    let outages = 0
    await until(
      'no read is left in PostgreSQL',
      async () => {
        await ledger.append(entry)
        if (!ledger.status().available || ledger.status().ageMs > 0) outages++
        const { rows } = await blocker.query(
          `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        )
        return refused === reads.length && rows.length === 0
      },
      9_000,
    )
    assert.equal(outages, 0)
    await blocker.query('rollback')
    await blocker.end()
    const { rows } = await read(() => sql`select 1 as one`.execute(database.readDb))
    assert.deepEqual(rows, [{ one: 1 }])
  },
)
