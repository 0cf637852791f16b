import assert from 'node:assert/strict'
import { test } from 'node:test'
import { migrations } from '../../migrations/index.ts'
import type { Log } from '../../platform/log/log.ts'
import {
  databaseKinds,
  needsDatabase,
  openTestDatabase,
  silentLog,
  type TestDatabase,
} from '../../testing/databases.ts'
import { ManualClock } from '../../testing/manual-clock.ts'
import { until } from '../../testing/until.ts'
import type { Tables } from '../tables.ts'
import { createCheckHistory, type CheckHistory } from './check-history.ts'
import type { Finding } from './probe.ts'

const passed: Finding = { kind: 'passed', reason: null, mend: null, latencyMs: 1 }
const refused: Finding = { kind: 'refused', reason: 'connection refused', mend: null, latencyMs: 1 }

const idOf = (place: number): string => `01933b6e-7c00-7000-8000-${String(place).padStart(12, '0')}`

async function addInstances(database: TestDatabase<Tables>, count: number): Promise<void> {
  await database.pool.query(
    `insert into haus.instance (id, service, incarnation, version, address, port, scheme, state,
       weight, tags, metadata, leased, draining, maintenance, revision, modified_index,
       registered_at, state_changed_at, last_seen_at)
     select ('01933b6e-7c00-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'orders', 1, '1',
       '127.0.0.1', n, 'http', 'healthy', 100, '{}', '{}', true, false, false, 1, 1, now(), now(), now()
     from generate_series(1, $1::int) n`,
    [count],
  )
}

interface Kept {
  readonly history: CheckHistory
  readonly clock: ManualClock
  readonly away: { now: boolean }
}

async function openHistory(database: TestDatabase<Tables>, isKnown = () => true): Promise<Kept> {
  const clock = new ManualClock()
  const away = { now: false }
  const history = createCheckHistory({
    db: database.db,
    clock,
    log: silentLog as Log,
    available: () => !away.now,
  })
  await history.start(isKnown)
  return { history, clock, away }
}

async function rows(database: TestDatabase<Tables>): Promise<number> {
  const found = await database.db.selectFrom('check_history').select('instance_id').execute()
  return found.length
}

for (const kind of databaseKinds) {
  test(`${kind}: the history of checks`, needsDatabase(kind), async (suite) => {
    await using database = await openTestDatabase<Tables>(kind, { migrations })
    await addInstances(database, 130)
    const promise = (name: string, keep: () => Promise<void>): Promise<void> =>
      suite.test(name, async () => {
        await database.pool.query('truncate haus.check_history')
        await keep()
      })

    await promise(
      'it is written a minute after its first news, and a stop writes the rest',
      async () => {
        const { history, clock } = await openHistory(database)
        history.add(idOf(1), passed, 30_000)
        clock.advance(30_000)
        history.add(idOf(1), refused, 30_000)
        await new Promise(setImmediate)
        assert.equal(await rows(database), 0, 'not per check')
        assert.equal(history.unwritten, 2)
        await until('it is written', async () => {
          clock.advance(1_000)
          return (await rows(database)) === 1
        })
        assert(clock.monotonicMs() >= 60_000)
        await until('it is counted', () => history.unwritten === 0)
        history.add(idOf(1), passed, 30_000)
        history.add(idOf(2), passed, 30_000)
        const before = history.of(idOf(1))
        await history.stop()
        assert.equal(clock.pending, 0)
        assert.equal(await rows(database), 2)

        const again = await openHistory(database)
        const after = again.history.of(idOf(1))
        assert.deepEqual(after.checks, before.checks)
        assert.equal(after.checks.length, 3)
        assert.equal(after.lastFailure?.reason, 'connection refused')
        await again.history.stop()
      },
    )

    await promise('a crowd is written in turns, one small statement a second', async () => {
      const { history, clock } = await openHistory(database)
      for (let place = 1; place <= 130; place++) history.add(idOf(place), passed, 30_000)
      clock.advance(59_000)
      assert.equal(await rows(database), 0)
      clock.advance(1_000)
      await until('the first turn is written', async () => (await rows(database)) === 50)
      await until('all of them are written', async () => {
        clock.advance(1_000)
        return (await rows(database)) === 130 && history.unwritten === 0
      })
      await history.stop()
    })

    await promise(
      'while the database is away results stay in memory, bounded, and are written later',
      async () => {
        const { history, clock, away } = await openHistory(database)
        away.now = true
        for (let count = 0; count < 250; count++) {
          history.add(idOf(1), passed, 5_000)
          clock.advance(5_000)
        }
        assert.equal(history.of(idOf(1)).checks.length, 100)
        assert.equal(history.dropped, 150)
        assert.equal(history.unwritten, 100)
        assert.equal(history.of(idOf(1)).uptime24h, 1)
        assert.equal(await rows(database), 0)
        away.now = false
        await until('it is written', async () => {
          clock.advance(1_000)
          return (await rows(database)) === 1 && history.unwritten === 0
        })
        await history.stop()
      },
    )

    await promise('a write that fails is tried again, and loses nothing', async () => {
      const { history, clock } = await openHistory(database)
      history.add(idOf(1), passed, 30_000)
      await database.pool.query('alter table haus.check_history rename to elsewhere')
      for (let second = 0; second < 70; second++) {
        clock.advance(1_000)
        await new Promise(setImmediate)
      }
      await new Promise(setImmediate)
      assert.equal(history.unwritten, 1)
      await database.pool.query('alter table haus.elsewhere rename to check_history')
      await until('it is written', async () => {
        clock.advance(1_000)
        return (await rows(database)) === 1 && history.unwritten === 0
      })
      await history.stop()
    })

    await promise(
      'an instance that is gone takes its history along, also when it left while nobody looked',
      async () => {
        const { history, clock } = await openHistory(database)
        history.add(idOf(1), passed, 30_000)
        history.add(idOf(2), passed, 30_000)
        history.add(idOf(999_999), passed, 30_000)
        await until('they are written', async () => {
          clock.advance(1_000)
          return (await rows(database)) === 2 && history.unwritten === 0
        })
        history.forget(idOf(1))
        assert.deepEqual(history.of(idOf(1)).checks, [])
        await until('its row is gone', async () => {
          clock.advance(1_000)
          return (await rows(database)) === 1
        })
        await history.stop()
        const again = await openHistory(database, () => false)
        await until('what no instance has is removed', async () => {
          again.clock.advance(1_000)
          return (await rows(database)) === 0
        })
        await again.history.stop()
      },
    )

    await promise('a row that is no history is begun anew and stops nobody', async () => {
      await database.pool.query(
        `insert into haus.check_history values ($1, 'not a record', now())`,
        [idOf(1)],
      )
      const { history, clock } = await openHistory(database)
      assert.deepEqual(history.of(idOf(1)).checks, [])
      history.add(idOf(1), passed, 30_000)
      await history.stop()
      assert.equal(clock.pending, 0)
      const again = await openHistory(database)
      assert.equal(again.history.of(idOf(1)).checks.length, 1)
      await again.history.stop()
    })
  })
}
