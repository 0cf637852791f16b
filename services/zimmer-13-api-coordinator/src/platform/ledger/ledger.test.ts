// Longer than 600 lines because every promise of the ledger is tested from one stage.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { HausError } from '@haus/contract'
import pg from 'pg'
import { migrations } from '../../migrations/index.ts'
import {
  databaseKinds,
  needsDatabase,
  openTestDatabase,
  reuseDatabases,
  silentLog,
  type TestDatabase,
} from '../../testing/databases.ts'
import { until } from '../../testing/until.ts'
import { systemClock } from '../clock/clock.ts'
import type { DatabaseKind } from '../database/index.ts'
import type { Log } from '../log/log.ts'
import { createLedger, type RunningLedger } from './create-ledger.ts'
import { GuardLost, write, type AuditEntry, type Entry, type LedgerEvent } from './ledger.ts'
import type { LedgerTables } from './table.ts'
import type { WriteOperation } from './ledger.ts'

reuseDatabases(after)

interface CounterRow {
  id: string
  expected: number
}

/** Adds one if the value is the expected one; a value over 100 breaks a check constraint. */
const increment: WriteOperation<CounterRow> = {
  name: 'test_increment',
  sql: `insert into haus.counter as c (id, value)
    select r.id, r.expected + 1 from jsonb_to_recordset($1::jsonb) as r(ord int, id text, expected int)
    on conflict (id) do update set value = excluded.value where c.value = excluded.value - 1
    returning (select r.ord from jsonb_to_recordset($1::jsonb) as r(ord int, id text) where r.id = c.id)`,
}

interface House extends AsyncDisposable {
  database: TestDatabase<LedgerTables>
  ledger: RunningLedger
  seen: LedgerEvent[]
}

/** A long turn of the event loop, in which nothing that arrives can be read. */
function busyFor(ms: number): void {
  const endMs = performance.now() + ms
  while (performance.now() < endMs);
}

function follow(
  database: TestDatabase<LedgerTables>,
  writeTimeoutMs: number,
): { ledger: RunningLedger; seen: LedgerEvent[] } {
  const seen: LedgerEvent[] = []
  const ledger = createLedger<LedgerTables>({
    database,
    clock: systemClock,
    log: silentLog as Log,
    writeTimeoutMs,
    projections: [{ load: async () => {}, apply: (events) => void seen.push(...events) }],
  })
  return { ledger, seen }
}

/** The machine is shared while tests run: only the tests of the 250 ms promise keep to it. */
const patientMs = 30_000

async function openHouse(kind: DatabaseKind, writeTimeoutMs = patientMs): Promise<House> {
  const database = await openTestDatabase<LedgerTables>(kind, { migrations })
  await database.pool.query(
    `create table haus.counter (id text primary key, value int not null check (value <= 100))`,
  )
  const { ledger, seen } = follow(database, writeTimeoutMs)
  await ledger.start()
  return {
    database,
    ledger,
    seen,
    async [Symbol.asyncDispose]() {
      await ledger.stop(1_000)
      await database.cleanup()
    },
  }
}

const audit: AuditEntry = {
  actor: 'operator',
  action: 'test',
  target: 'counters/a',
  outcome: 'allowed',
  code: null,
  source: null,
  requestId: null,
  detail: {},
}

function counterEntry(id: string, expected: number, events = 1): Entry {
  return {
    keys: [`counter:${id}`],
    writes: [write(increment, { id, expected })],
    events: Array.from({ length: events }, (_, n) => ({
      type: 'test.counted',
      subject: `counters/${id}`,
      service: null,
      data: { id, value: expected + 1, n },
    })),
    audit,
  }
}

const auditOnly: Entry = { keys: [], writes: [], events: [], audit }

async function storedEvents(house: House): Promise<{ index: number; data: unknown }[]> {
  const { rows } = await house.database.pool.query<{ index: number; data: unknown }>(
    'select index, data from haus.ledger_event order by index',
  )
  return rows
}

for (const kind of databaseKinds) {
  const matrix = needsDatabase(kind)

  test(
    `${kind}: concurrent entries get gapless indexes in commit order, and are applied before they answer`,
    matrix,
    async () => {
      await using house = await openHouse(kind)
      const receipts = await Promise.all(
        Array.from({ length: 600 }, async (_, n) => {
          const receipt = await house.ledger.append(counterEntry(`c${n}`, 0, 1 + (n % 3)))
          assert.ok(
            house.seen.some((event) => event.index === receipt.index),
            'the answer came before the projection knew',
          )
          return receipt
        }),
      )
      const stored = await storedEvents(house)
      assert.deepEqual(
        stored.map((row) => row.index),
        Array.from({ length: 1200 }, (_, i) => i + 1),
      )
      assert.deepEqual(
        house.seen.map((event) => event.index),
        stored.map((row) => row.index),
      )
      assert.equal(new Set(receipts.map((receipt) => receipt.index)).size, 600)
      const { rows } = await house.database.pool.query<{ id: number }>(
        'select id from haus.audit order by id',
      )
      assert.deepEqual(
        rows.map((row) => row.id),
        Array.from({ length: 600 }, (_, i) => i + 1),
      )
    },
  )

  test(`${kind}: an entry whose guard is lost fails alone`, matrix, async () => {
    await using house = await openHouse(kind)
    const settled = await Promise.allSettled([
      house.ledger.append(counterEntry('a', 0)),
      house.ledger.append(counterEntry('b', 0)),
      house.ledger.append(counterEntry('b', 7)),
      house.ledger.append(counterEntry('c', 0)),
    ])
    assert.deepEqual(
      settled.map((result) => result.status),
      ['fulfilled', 'fulfilled', 'rejected', 'fulfilled'],
    )
    assert.ok(settled[2]?.status === 'rejected' && settled[2].reason instanceof GuardLost)
    assert.equal(house.ledger.status().index, 3)
    assert.equal((await storedEvents(house)).length, 3)
  })

  test(
    `${kind}: an entry that breaks a constraint fails alone, with its code`,
    matrix,
    async () => {
      await using house = await openHouse(kind)
      const settled = await Promise.allSettled([
        house.ledger.append(counterEntry('a', 0)),
        house.ledger.append(counterEntry('b', 100)),
        house.ledger.append(auditOnly),
        house.ledger.append(counterEntry('c', 0)),
      ])
      assert.deepEqual(
        settled.map((result) => result.status),
        ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
      )
      const refused = settled[1]
      assert.ok(refused?.status === 'rejected' && refused.reason instanceof pg.DatabaseError)
      assert.equal(refused.reason.code, '23514')
      assert.deepEqual(
        (await storedEvents(house)).map((row) => row.index),
        [1, 2],
      )
    },
  )

  test(
    `${kind}: a value that PostgreSQL cannot store fails its own entry only`,
    matrix,
    async () => {
      await using house = await openHouse(kind)
      const settled = await Promise.allSettled([
        house.ledger.append(counterEntry('a', 0)),
        house.ledger.append(counterEntry('nul\u0000', 0)),
        house.ledger.append(counterEntry('c', 0)),
      ])
      assert.deepEqual(
        settled.map((result) => result.status),
        ['fulfilled', 'rejected', 'fulfilled'],
      )
    },
  )

  test(
    `${kind}: entries with a common key are committed one after the other, in order`,
    matrix,
    async () => {
      await using house = await openHouse(kind)
      await Promise.all(
        Array.from({ length: 40 }, (_, n) => house.ledger.append(counterEntry('same', n))),
      )
      const values = (await storedEvents(house)).map((row) => (row.data as { value: number }).value)
      assert.deepEqual(
        values,
        Array.from({ length: 40 }, (_, n) => n + 1),
      )
    },
  )

  test(
    `${kind}: over random histories, what is acknowledged is stored, in order, and nothing else`,
    matrix,
    async () => {
      await using house = await openHouse(kind)
      let run = 0
      await fc.assert(
        fc.asyncProperty(
          fc.array(
            fc.record({
              id: fc.integer({ min: 0, max: 5 }),
              expected: fc.constantFrom(0, 0, 0, 1, 2, 100),
              events: fc.integer({ min: 0, max: 3 }),
            }),
            { minLength: 1, maxLength: 40 },
          ),
          async (steps) => {
            run++
            const from = house.seen.length
            const answers = await Promise.allSettled(
              steps.map(({ id, expected, events }) =>
                house.ledger.append(counterEntry(`r${run}.${id}`, expected, events)),
              ),
            )
            // The model: steps one by one, in order of their calls.
            const values = new Map<number, number>()
            const facts: string[] = []
            for (const [n, { id, expected, events }] of steps.entries()) {
              const stands = (values.get(id) ?? expected) === expected && expected < 100
              assert.equal(answers[n]?.status, stands ? 'fulfilled' : 'rejected', `step ${n}`)
              if (!stands) continue
              values.set(id, expected + 1)
              for (let e = 0; e < events; e++) facts.push(`r${run}.${id}=${expected + 1}`)
            }
            const told = house.seen.slice(from)
            assert.deepEqual(
              told.map((event) => `${event.data['id']}=${event.data['value']}`).toSorted(),
              facts.toSorted(),
            )
            for (const [i, event] of told.entries()) assert.equal(event.index, from + i + 1)
          },
        ),
        { numRuns: 25 },
      )
      assert.deepEqual(
        (await storedEvents(house)).map((row) => row.index),
        house.seen.map((event) => event.index),
      )
    },
  )

  test(
    `${kind}: a projection that fails holds back the answer, and is tried again`,
    matrix,
    async () => {
      const database = await openTestDatabase<LedgerTables>(kind, { migrations })
      let failures = 1
      const seen: number[] = []
      const ledger = createLedger<LedgerTables>({
        database,
        clock: systemClock,
        log: silentLog as Log,
        projections: [
          {
            load: async () => {},
            apply(events) {
              if (failures-- > 0) throw new Error('not now')
              seen.push(...events.map((event) => event.index))
            },
          },
        ],
      })
      await ledger.start()
      const entry: Entry = {
        keys: [],
        writes: [],
        events: [{ type: 'test', subject: 's', service: null, data: {} }],
        audit: null,
      }
      await assert.rejects(ledger.append(entry), { code: 'write_outcome_unknown' })
      await until('the poll applies it', () => seen.length === 1)
      await until('writes are taken again', () => ledger.status().available)
      await ledger.append(entry)
      assert.deepEqual(seen, [1, 2])
      await ledger.stop(1_000)
      await database.cleanup()
    },
  )

  test(
    `${kind}: stopping writes out what is queued and refuses what comes after`,
    matrix,
    async () => {
      const house = await openHouse(kind)
      const queued = Array.from({ length: 50 }, (_, n) =>
        house.ledger.append(counterEntry(`q${n}`, 0)),
      )
      const stopped = house.ledger.stop(5_000)
      await assert.rejects(house.ledger.append(auditOnly), { code: 'shutting_down' })
      await stopped
      assert.equal(
        (await Promise.allSettled(queued)).filter((r) => r.status === 'fulfilled').length,
        50,
      )
      assert.equal((await storedEvents(house)).length, 50)
      await house.database.cleanup()
    },
  )
}

test(
  'two processes over one PostgreSQL: one order, no gap, seen alike by both',
  needsDatabase('postgres'),
  async () => {
    await using first = await openHouse('postgres')
    // The shared pool would serialise the two: the second gets a ledger connection of its own.
    const ownPool = new pg.Pool({
      connectionString: first.database.location.url,
      max: 1,
      types: first.database.pool.options.types,
    })
    const second = follow({ ...first.database, ledgerPool: ownPool }, patientMs)
    const other = second.ledger
    await other.start()
    const writers = [first.ledger, other].flatMap((ledger, w) =>
      Array.from({ length: 8 }, async (_, n) => {
        for (let i = 0; i < 25; i++) await ledger.append(counterEntry(`w${w}.${n}`, i))
      }),
    )
    await Promise.all(writers)
    await until('both have seen all', () => first.seen.length === 400 && second.seen.length === 400)
    assert.deepEqual(
      first.seen.map((event) => event.index),
      Array.from({ length: 400 }, (_, i) => i + 1),
    )
    assert.deepEqual(
      first.seen.map((event) => event.data),
      second.seen.map((event) => event.data),
    )
    await other.stop(1_000)
    await ownPool.end()
  },
)

test(
  'what others write while the answer to an audit record is on its way is no database that went back',
  needsDatabase('postgres'),
  async () => {
    await using first = await openHouse('postgres')
    const held = Promise.withResolvers<void>()
    let written = false
    class LateAnswers extends pg.Client {
      // oxlint-disable-next-line typescript/no-explicit-any -- one of the many signatures of query
      override query(...args: any[]): any {
        // oxlint-disable-next-line typescript/no-unsafe-argument -- as above
        const answer: unknown = Reflect.apply(super.query, this, args)
        if (args[0]?.name !== 'ledger_audits') return answer
        return Promise.resolve(answer).then(async (rows) => {
          written = true
          await held.promise
          return rows
        })
      }
    }
    const ownPool = new pg.Pool({
      connectionString: first.database.location.url,
      max: 1,
      types: first.database.pool.options.types,
      Client: LateAnswers,
    })
    const second = follow({ ...first.database, ledgerPool: ownPool }, patientMs)
    await second.ledger.start()
    const record = second.ledger.append(auditOnly)
    await until('the record is written', () => written)
    await first.ledger.append(counterEntry('a', 0))
    await until('the second process knows of it', () => second.seen.length === 1)
    held.resolve()
    assert.equal((await record).index, 0)
    await second.ledger.stop(1_000)
    await ownPool.end()
  },
)

test(
  'a stalled database: 503 after 250 ms for what waits and for what is in flight, and all resumes by itself',
  needsDatabase('postgres'),
  async () => {
    await using house = await openHouse('postgres', 250)
    const blocker = new pg.Client({ connectionString: house.database.location.url })
    // If the test fails, the database is dropped under it.
    blocker.on('error', () => {})
    await blocker.connect()
    await blocker.query('begin; select * from haus.ledger_head for update')
    const startedAtMs = performance.now()
    // On a starved machine the first may time out unsent; then another takes its place.
    let first: Promise<unknown> | undefined
    await until('one is in flight', async () => {
      first ??= house.ledger.append(counterEntry('a', 0)).catch((error: unknown) => {
        if (error instanceof HausError && error.code === 'writes_unavailable') first = undefined
        return error
      })
      const { rows } = await house.database.pool.query(
        `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      )
      return rows.length > 0
    })
    const queued = house.ledger.append(counterEntry('b', 0))
    const [unsent, unconfirmed] = await Promise.all([
      queued.catch((error: unknown) => error),
      first,
    ])
    const waitedMs = performance.now() - startedAtMs
    assert.ok(unsent instanceof HausError && unsent.code === 'writes_unavailable')
    assert.equal(unsent.retryAfterSeconds, 1)
    assert.ok(unconfirmed instanceof HausError && unconfirmed.code === 'write_outcome_unknown')
    assert.ok(waitedMs >= 240 && waitedMs < 5_000, `waited ${waitedMs} ms`)
    assert.equal(house.ledger.status().available, false, 'what is refused is said to be')
    assert.equal(house.ledger.status().readable, true, 'the tables can still be asked')
    assert.match(house.ledger.status().error ?? '', /longer than 250 ms/)
    await blocker.query('rollback')
    await blocker.end()
    await until('the stalled one is written after all', () => house.seen.length === 1)
    await until('writes are said to be taken', () => house.ledger.status().available)
    await house.ledger.append(counterEntry('c', 0))
    assert.deepEqual(
      (await storedEvents(house)).map((row) => (row.data as { id: string }).id),
      ['a', 'c'],
    )
  },
)

for (const kind of databaseKinds) {
  test(
    `${kind}: a thread that was busy for longer than a write may take refuses none`,
    needsDatabase(kind),
    async () => {
      await using house = await openHouse(kind, 250)
      await house.ledger.append(counterEntry('a', 0))
      // The first goes out in the next turn, the second when the first is answered.
      const writes = [1, 2].map((from) => house.ledger.append(counterEntry('a', from)))
      await nextTurn()
      busyFor(400)
      await Promise.all(writes)
      const inTheQueue = house.ledger.append(counterEntry('a', 3))
      busyFor(400)
      await inTheQueue
    },
  )
}

test(
  'an entry whose row somebody else has locked is refused alone, with nothing written, and holds up nobody',
  needsDatabase('postgres'),
  async () => {
    await using house = await openHouse('postgres')
    await house.ledger.append(counterEntry('locked', 0))
    const blocker = new pg.Client({ connectionString: house.database.location.url })
    // If the test fails, the database is dropped under it.
    blocker.on('error', () => {})
    await blocker.connect()
    await blocker.query(`begin; select * from haus.counter where id = 'locked' for update`)
    const settled = await Promise.allSettled([
      house.ledger.append(counterEntry('a', 0)),
      house.ledger.append(counterEntry('locked', 1)),
      house.ledger.append(auditOnly),
      house.ledger.append(counterEntry('b', 0)),
    ])
    assert.deepEqual(
      settled.map((result) => result.status),
      ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
    )
    const refused = settled[1]
    assert.ok(refused?.status === 'rejected' && refused.reason instanceof HausError)
    assert.equal(refused.reason.code, 'writes_unavailable')
    assert.equal(refused.reason.retryAfterSeconds, 1)
    assert.match(refused.reason.message, /^Nothing was written: .* locked/)
    assert.equal(house.ledger.status().available, true)
    await blocker.query('rollback')
    await blocker.end()
    assert.equal((await house.ledger.append(counterEntry('locked', 1))).index, 4)
  },
)

test(
  'a broken connection: refused at once, said in the status, and mended by itself',
  needsDatabase('postgres'),
  async () => {
    await using house = await openHouse('postgres', 250)
    await house.ledger.append(counterEntry('a', 0))
    const admin = new pg.Client({ connectionString: house.database.location.url })
    await admin.connect()
    let refused = 0
    await until('a write is refused', async () => {
      await admin.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
      )
      await house.ledger.append(auditOnly).catch((error: unknown) => {
        assert.ok(error instanceof HausError && error.retryAfterSeconds === 1)
        refused++
      })
      return refused > 0
    })
    await until('writes are taken again', () => house.ledger.status().available)
    await until('a write goes through', () =>
      house.ledger.append(counterEntry('a', 1)).then(
        () => true,
        () => false,
      ),
    )
    assert.equal(house.ledger.status().ageMs, 0)
    await admin.end()
  },
)

test(
  'a group that fails at its commit counts for nothing: the next is numbered in its place',
  needsDatabase('postgres'),
  async () => {
    const database = await openTestDatabase<LedgerTables>('postgres', { migrations })
    await database.pool.query(`
      create table haus.counter (id text primary key, value int not null);
      create function haus.fail_at_commit() returns trigger language plpgsql as $$
        begin
          if new.id = 'cut off' then perform pg_terminate_backend(pg_backend_pid()); end if;
          raise exception 'not this one';
        end $$;
      create constraint trigger at_commit after insert on haus.counter deferrable initially deferred
        for each row when (new.id in ('refused', 'cut off')) execute function haus.fail_at_commit();`)
    const { ledger, seen } = follow(database, patientMs)
    await ledger.start()
    await ledger.append(counterEntry('a', 0))
    await assert.rejects(ledger.append(counterEntry('refused', 0, 3)), {
      code: 'writes_unavailable',
    })
    await until('writes are taken again', () => ledger.status().available)
    assert.equal((await ledger.append(counterEntry('b', 0))).index, 2)
    // Ended by the server while it was asked to commit: it may have done so before.
    await assert.rejects(ledger.append(counterEntry('cut off', 0, 3)), {
      code: 'write_outcome_unknown',
    })
    await until('writes are taken again', () => ledger.status().available)
    assert.equal((await ledger.append(counterEntry('c', 0))).index, 3)
    assert.deepEqual(
      seen.map(({ index }) => index),
      [1, 2, 3],
    )
    await ledger.stop(1_000)
    await database.cleanup()
  },
)

for (const kind of databaseKinds) {
  test(
    `${kind}: an entry that this program cannot even send is no outage`,
    needsDatabase(kind),
    async () => {
      await using house = await openHouse(kind)
      const odd = counterEntry('odd', 0)
      const cyclic: { id: string; expected: number; self?: object } = { id: 'odd', expected: 0 }
      cyclic.self = cyclic
      const settled = await Promise.allSettled([
        house.ledger.append(counterEntry('a', 0)),
        house.ledger.append({ ...odd, writes: [write(increment, cyclic)] }),
      ])
      assert.equal(settled[0].status, 'fulfilled')
      assert.ok(settled[1].status === 'rejected' && settled[1].reason instanceof TypeError)
      assert.equal(house.ledger.status().available, true)
      assert.equal((await house.ledger.append(counterEntry('b', 0))).index, 2)
    },
  )

  test(
    `${kind}: a ledger without its head row says so, until the row is back`,
    needsDatabase(kind),
    async (t) => {
      await using house = await openHouse(kind)
      const { database, ledger } = house
      await ledger.append(counterEntry('a', 0))
      await database.pool.query('create table haus.kept as select * from haus.ledger_head')
      await database.pool.query('delete from haus.ledger_head')
      const missing = /haus\.ledger_head has lost its row/
      for (const entry of [counterEntry('b', 0), auditOnly]) {
        await assert.rejects(ledger.append(entry), { code: 'writes_unavailable', message: missing })
      }
      // A poll reads the new events, and then looks for the head.
      const { mock } = t.mock.method(database.pool, 'connect')
      await until('it was looked at again', () => mock.callCount() > 4)
      assert.match(ledger.status().error ?? '', missing)
      const { ledger: another } = follow(database, patientMs)
      await assert.rejects(another.start(), { code: 'database_corrupt', message: missing })
      await database.pool.query('insert into haus.ledger_head select * from haus.kept')
      await until('writes are taken again', () => ledger.status().available)
      assert.equal((await ledger.append(counterEntry('b', 0))).index, 2)
    },
  )
}

test('a database that has gone back gets no new facts, which would be passed over, and ends the process', async () => {
  const database = await openTestDatabase<LedgerTables>('embedded', { migrations })
  const told: HausError[] = []
  const ledger = createLedger<LedgerTables>({
    database,
    clock: systemClock,
    log: silentLog as Log,
    writeTimeoutMs: patientMs,
    onRolledBack: (error) => void told.push(error),
    projections: [{ load: async () => {}, apply: () => {} }],
  })
  await ledger.start()
  const entry: Entry = {
    keys: [],
    writes: [],
    events: [{ type: 'test', subject: 's', service: null, data: {} }],
    audit: null,
  }
  await ledger.append(entry)
  await ledger.append(entry)
  // What a standby looks like that had not received the last two.
  await database.pool.query(
    'delete from haus.ledger_event; update haus.ledger_head set last_event = 0',
  )
  await assert.rejects(ledger.append(entry), { code: 'writes_unavailable' })
  assert.deepEqual(
    told.map(({ code }) => code),
    ['database_corrupt'],
  )
  await ledger.stop(1_000)
  await database.cleanup()
})
