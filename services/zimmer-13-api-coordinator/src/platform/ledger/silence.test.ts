/** A database that says nothing: neither an answer nor an error. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { migrations } from '../../migrations/index.ts'
import { needsDatabase, openTestDatabase, silentLog } from '../../testing/databases.ts'
import { startStallingProxy } from '../../testing/stalling-proxy.ts'
import { until } from '../../testing/until.ts'
import { systemClock } from '../clock/clock.ts'
import { openDatabase, type Database } from '../database/index.ts'
import type { Log } from '../log/log.ts'
import { createLedger, type RunningLedger } from './create-ledger.ts'
import type { Entry } from './ledger.ts'
import type { LedgerTables } from './table.ts'

const entry: Entry = {
  keys: [],
  writes: [],
  events: [{ type: 'test', subject: 's', service: null, data: {} }],
  audit: null,
}

function open(database: Database<LedgerTables>): { ledger: RunningLedger; seen: number[] } {
  const seen: number[] = []
  const ledger = createLedger<LedgerTables>({
    database,
    clock: systemClock,
    log: silentLog as Log,
    projections: [
      {
        load: async () => {},
        apply: (events) => void seen.push(...events.map((event) => event.index)),
      },
    ],
  })
  return { ledger, seen }
}

async function eventuallyWrites(ledger: RunningLedger): Promise<void> {
  await until('a write goes through', () =>
    ledger.append(entry).then(
      () => true,
      () => false,
    ),
  )
}

test(
  'PostgreSQL falls silent and nobody writes: said within seconds, mended by itself, and stopping does not wait for it',
  needsDatabase('postgres'),
  async (t) => {
    const direct = await openTestDatabase<LedgerTables>('postgres', { migrations })
    t.after(() => direct.cleanup())
    const { url } = direct.location
    assert.ok(url)
    const proxy = await startStallingProxy(url)
    t.after(() => proxy.close())
    const database = await openDatabase<LedgerTables>({
      url: proxy.url,
      dataDir: direct.location.dataDir,
      log: silentLog,
      onFatal: (error) => {
        throw error
      },
    })
    t.after(() => database.close())
    const { ledger, seen } = open(database)
    await ledger.start()
    await eventuallyWrites(ledger)

    proxy.stall()
    const stalledAtMs = performance.now()
    await until('writes are said to be away', () => !ledger.status().available, 20_000)
    const silentMs = performance.now() - stalledAtMs
    assert.ok(silentMs < 12_000, `it took ${silentMs} ms`)
    assert.ok(ledger.status().ageMs > 0, 'the age of what is known is told')
    await assert.rejects(ledger.append(entry), { code: 'writes_unavailable' })

    proxy.resume()
    await until('writes are taken again', () => ledger.status().available, 20_000)
    await eventuallyWrites(ledger)
    assert.deepEqual(
      seen,
      Array.from(seen, (_, i) => i + 1),
      'in order, without a gap and without a double',
    )

    proxy.stall()
    const stoppedAtMs = performance.now()
    await ledger.stop(500)
    const stopMs = performance.now() - stoppedAtMs
    assert.ok(stopMs < 3_000, `stopping took ${stopMs} ms`)
  },
)

test('an embedded database that is busy for long is not away: writes are 503 and go on by themselves', async (t) => {
  const database = await openTestDatabase<LedgerTables>('embedded', { migrations })
  t.after(() => database.cleanup())
  const { ledger } = open(database)
  await ledger.start()
  t.after(() => ledger.stop(1_000))
  await eventuallyWrites(ledger)
  const index = ledger.status().index

  // As a vacuum does, for longer than the pool lets anybody wait.
  const holder = await database.pool.connect()
  await assert.rejects(ledger.append(entry), { code: 'write_outcome_unknown' })
  const heldAtMs = performance.now()
  let unavailable = 0
  await until(
    'the pool has given up once',
    () => {
      if (!ledger.status().available) unavailable++
      return performance.now() - heldAtMs > 11_500
    },
    20_000,
  )
  assert.equal(ledger.status().queued, 0, 'the group that waited in vain is gone')
  assert.equal(unavailable, 0)
  assert.equal(ledger.status().error, null)
  await assert.rejects(ledger.append(entry), { status: 503 })
  holder.release()
  await eventuallyWrites(ledger)
  assert.ok(ledger.status().index > index)
})
