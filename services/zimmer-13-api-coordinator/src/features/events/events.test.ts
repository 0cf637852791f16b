import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { migrations } from '../../migrations/index.ts'
import { anonymous, type Caller, type RequestContext } from '../../platform/http/caller.ts'
import { systemClock } from '../../platform/clock/clock.ts'
import type { Log } from '../../platform/log/log.ts'
import { createLedger, type NewEvent, type RunningLedger } from '../../platform/ledger/index.ts'
import type { LedgerTables } from '../../platform/ledger/table.ts'
import {
  openTestDatabase,
  reuseDatabases,
  silentLog,
  type TestDatabase,
} from '../../testing/databases.ts'
import { ManualClock } from '../../testing/manual-clock.ts'
import { until } from '../../testing/until.ts'
import { createEventBus } from './bus.ts'
import type { EventStream } from './event-stream.ts'
import { createEvents, type Events } from './events.ts'

reuseDatabases(after)

interface House extends AsyncDisposable {
  readonly events: Events
  readonly ledger: RunningLedger
  readonly database: TestDatabase<LedgerTables>
  readonly clock: ManualClock
  tell(...events: Partial<NewEvent>[]): Promise<void>
}

async function openHouse(beforeRead = (): void | Promise<void> => {}): Promise<House> {
  const database = await openTestDatabase<LedgerTables>('embedded', { migrations })
  const bus = createEventBus()
  const ledger = createLedger<LedgerTables>({
    database,
    clock: systemClock,
    log: silentLog as Log,
    projections: [bus],
    writeTimeoutMs: 30_000,
  })
  await ledger.start()
  const clock = new ManualClock()
  const events = createEvents({
    bus,
    ledger: {
      ...ledger,
      async read(afterIndex, limit) {
        await beforeRead()
        return ledger.read(afterIndex, limit)
      },
    },
    clock,
    houseId: 'the-house',
    canonicalService: (name) => (name === 'zimmer-21' ? 'orders' : name),
    dependenciesOf: (service) => (service === 'billing' ? ['orders'] : []),
  })
  return {
    events,
    ledger,
    database,
    clock,
    async tell(...list) {
      const complete = list.map((event) => ({
        type: 'haus.instance.changed',
        subject: 'services/orders',
        service: 'orders',
        data: {},
        ...event,
      }))
      await ledger.append({ keys: [], writes: [], events: complete, audit: null })
    },
    async [Symbol.asyncDispose]() {
      events.stop()
      await ledger.stop(1_000)
      await database.cleanup()
    },
  }
}

function contextOf(caller: Partial<Caller>): RequestContext {
  return {
    caller: { ...anonymous, kind: 'operator', actor: 'operator', ...caller },
    operation: 'streamEvents',
    requestId: 'r',
    source: '127.0.0.1',
  }
}

const operator = contextOf({})
const service = (name: string): RequestContext =>
  contextOf({ kind: 'service', actor: `service:${name}`, service: name })

interface Seen {
  text: string
  ended: boolean
  /** Of what came with data. */
  ids(): number[]
  /** What a reader sends as `Last-Event-ID` when the connection breaks now. */
  place(): string | undefined
}

/** Collects the blocks of a stream as they come. */
function collect(stream: EventStream): Seen {
  const seen: Seen = {
    text: '',
    ended: false,
    ids: () => [...seen.text.matchAll(/^id: (\d+)\ndata: /gm)].map((match) => Number(match[1])),
    // Taken over at the empty line, and only there.
    place: () => [...seen.text.matchAll(/^id: (\d+)\n(?:data: .*\n)?\n/gm)].at(-1)?.[1],
  }
  stream.on('data', (chunk: string) => {
    seen.text += chunk
  })
  stream.on('close', () => {
    seen.ended = true
  })
  return seen
}

test('a stream without a resume point starts now, and each event is a CloudEvent', async () => {
  await using house = await openHouse()
  await house.tell({})
  const seen = collect(house.events.open(operator, {}, undefined))
  await house.tell({ data: { id: 'a' } })
  await until('the event', () => seen.ids().length === 1)
  const json: unknown = JSON.parse(/^data: (.*)$/m.exec(seen.text)?.[1] ?? '')
  assert.deepEqual(
    { ...(json as object), time: '' },
    {
      specversion: '1.0',
      id: '2',
      source: '/haus/the-house',
      type: 'haus.instance.changed',
      subject: 'services/orders',
      time: '',
      datacontenttype: 'application/json',
      data: { id: 'a' },
    },
  )
})

test('a stream resumes after its last event, across pages, without gap or repeat, while more happens', async () => {
  await using house = await openHouse()
  await house.tell(...Array.from({ length: 700 }, () => ({})))
  const seen = collect(house.events.open(operator, {}, '100'))
  const more = Promise.all(Array.from({ length: 50 }, () => house.tell({}, {})))
  await until('all of them', () => seen.ids().length >= 700)
  await more
  assert.deepEqual(
    seen.ids(),
    Array.from({ length: 700 }, (_, i) => 101 + i),
  )
})

test('a resume point that is no longer kept gets a reset that says where the stream goes on', async () => {
  await using house = await openHouse()
  await house.tell(...Array.from({ length: 20 }, () => ({})))
  await house.database.pool.query('delete from haus.ledger_event where index <= 10')
  const seen = collect(house.events.open(operator, {}, '5'))
  await until('the reset', () => seen.text.includes('event: reset\nid: 20\n'))
  await house.tell({})
  await until('what follows', () => seen.ids().at(-1) === 21)
  assert.deepEqual(seen.ids(), [20, 21])

  const fromTheOldest = collect(house.events.open(operator, {}, '0'))
  await until('what is kept', () => fromTheOldest.ids().length === 11)
  assert.deepEqual(fromTheOldest.ids()[0], 11)

  const fromTheFuture = collect(house.events.open(operator, {}, '5000'))
  await until('a reset', () => fromTheFuture.text.includes('event: reset\nid: 21\n'))
})

test('a service sees its own events, those that name it, and the instances of what it depends on', async () => {
  await using house = await openHouse()
  const orders = collect(house.events.open(service('orders'), {}, undefined))
  const billing = collect(house.events.open(service('billing'), {}, undefined))
  const all = collect(house.events.open(operator, {}, undefined))
  await house.tell(
    { service: 'orders' },
    { service: 'orders', type: 'haus.config.changed' },
    { service: null, type: 'haus.credential.changed', data: { services: ['billing'] } },
    { service: null, type: 'haus.operator.changed' },
    { service: 'other' },
  )
  await until('the operator has all', () => all.ids().length === 5)
  assert.deepEqual(orders.ids(), [1, 2])
  assert.deepEqual(billing.ids(), [1, 3])
})

test('a stream can be narrowed by type, by a prefix of types, and by service or alias', async () => {
  await using house = await openHouse()
  const exact = collect(house.events.open(operator, { type: 'haus.config.changed' }, undefined))
  const prefix = collect(house.events.open(operator, { type: 'haus.instance.' }, undefined))
  const alias = collect(house.events.open(operator, { service: 'zimmer-21' }, undefined))
  await house.tell({}, { type: 'haus.config.changed', service: 'other' }, { service: 'other' })
  await until(
    'all have theirs',
    () => exact.ids().length + prefix.ids().length + alias.ids().length >= 4,
  )
  assert.deepEqual(exact.ids(), [2])
  assert.deepEqual(prefix.ids(), [1, 3])
  assert.deepEqual(alias.ids(), [1])
})

test('a stream ends when its token expires, when its key is revoked, and when the house closes', async () => {
  await using house = await openHouse()
  const revocation = new AbortController()
  const expiring = collect(
    house.events.open(
      contextOf({ expiresAtMonotonicMs: house.clock.monotonicMs() + 60_000 }),
      {},
      undefined,
    ),
  )
  const revoked = collect(
    house.events.open(contextOf({ revoked: revocation.signal }), {}, undefined),
  )
  const open = collect(house.events.open(operator, {}, undefined))
  house.clock.advance(59_000)
  assert.equal(house.events.streams, 3)
  house.clock.advance(1_000)
  await until('the expired one ends', () => expiring.ended)
  revocation.abort()
  await until('the revoked one ends', () => revoked.ended)
  assert.equal(open.ended, false)
  house.events.stop()
  await until('the last one ends', () => open.ended)
  assert.equal(house.events.streams, 0)
  assert.equal(house.clock.pending, 0, 'a timer is left behind')
})

test('a key that is revoked just before the stream opens gets none', async () => {
  await using house = await openHouse()
  const context = contextOf({ revoked: AbortSignal.abort() })
  assert.throws(() => house.events.open(context, {}, undefined), { code: 'token_revoked' })
  assert.equal(house.events.streams, 0)
})

test('a stream ends with its token whichever way the wall clock jumps', async () => {
  await using house = await openHouse()
  const { clock } = house
  for (const wall of ['2026-11-22T12:00:00.000Z', '2026-11-24T12:00:00.000Z']) {
    const until60 = contextOf({ expiresAtMonotonicMs: clock.monotonicMs() + 60_000 })
    const opened = collect(house.events.open(until60, {}, undefined))
    clock.setWall(wall)
    const openedLater = collect(house.events.open(until60, {}, undefined))
    clock.advance(59_999)
    assert.equal(house.events.streams, 2, wall)
    clock.advance(1)
    await until('both end', () => opened.ended && openedLater.ended)
  }
})

test('a reader that does not read is cut off instead of kept in memory', async () => {
  await using house = await openHouse()
  const stream = house.events.open(operator, {}, undefined)
  for (let i = 0; i < 5; i++) await house.tell(...Array.from({ length: 500 }, () => ({})))
  assert.equal(house.events.streams, 1)
  const seen = collect(stream)
  await until('it ends', () => seen.ended)
  const ids = seen.ids()
  assert.ok(ids.length < 2_500)
  assert.deepEqual(
    ids,
    ids.map((_, i) => i + 1),
  )
})

test('events that come one by one do not pile up behind a reader that has stopped', async () => {
  await using house = await openHouse()
  const stream = house.events.open(operator, {}, undefined)
  stream.read()
  const data = { padding: 'x'.repeat(500) }
  for (let i = 0; i < 300; i++) await house.tell({ data })
  assert.ok(
    stream.readableLength <= stream.readableHighWaterMark + 2_000,
    `${stream.readableLength} characters wait in the stream itself`,
  )
  const seen = collect(stream)
  await until('all of them', () => seen.ids().length === 300)
})

test('streams that come back all at once read two at a time, and one that leaves gives its place up', async () => {
  let reading = 0
  let mostAtOnce = 0
  const gate = Promise.withResolvers<void>()
  await using house = await openHouse(async () => {
    reading += 1
    mostAtOnce = Math.max(mostAtOnce, reading)
    await gate.promise
    reading -= 1
  })
  await house.tell(...Array.from({ length: 300 }, () => ({})))
  const streams = Array.from({ length: 50 }, () => house.events.open(operator, {}, '0'))
  const seen = streams.map(collect)
  await until('two read', () => reading === 2)
  for (const leaving of streams.slice(0, 45)) leaving.destroy()
  await until('45 have left', () => house.events.streams === 5)
  // A write and what follows it go on while every reader waits.
  await house.tell({ data: { id: 'meanwhile' } })
  gate.resolve()
  const all = Array.from({ length: 301 }, (_, i) => i + 1)
  await until('those that stayed have everything', () =>
    seen.slice(45).every(({ text, ids }) => text.includes('meanwhile') && ids().length === 301),
  )
  for (const { ids } of seen.slice(45)) assert.deepEqual(ids(), all)
  assert.equal(mostAtOnce, 2)
})

test('readers that have stopped in the middle of what they missed hold up nobody', async () => {
  await using house = await openHouse()
  const data = { padding: 'x'.repeat(500) }
  await house.tell(...Array.from({ length: 300 }, () => ({ data })))
  const stopped = Array.from({ length: 3 }, () => house.events.open(operator, {}, '0'))
  for (const stream of stopped) stream.read()
  await until('each is full', () =>
    stopped.every((stream) => stream.readableLength >= stream.readableHighWaterMark),
  )
  const seen = collect(house.events.open(operator, {}, '0'))
  await until('another has everything', () => seen.ids().length === 300)
})

test('a stream begins with its resume point, so that a break before the first event loses none', async () => {
  await using house = await openHouse()
  await house.tell({}, {})
  const keys = { type: 'haus.key.' }
  const first = house.events.open(operator, keys, undefined)
  const seen = collect(first)
  await until('the beginning', () => seen.text !== '')
  assert.equal(seen.text, 'retry: 2000\nid: 2\n\n')
  first.destroy()
  await house.tell({ type: 'haus.key.created' })
  const again = collect(house.events.open(operator, keys, seen.place()))
  await until('what happened meanwhile', () => again.ids().length > 0)
  assert.deepEqual(again.ids(), [3])
  assert.match(again.text, /^retry: 2000\nid: 2\n\nid: 3\ndata: /)
})

test('an idle stream says that it is still there, and how far it is complete', async () => {
  await using house = await openHouse()
  const seen = collect(house.events.open(operator, { type: 'haus.key.' }, undefined))
  await until('the beginning', () => seen.place() === '0')
  for (let round = 1; round <= 2; round++) {
    await house.tell({}, {})
    house.clock.advance(15_000)
    await until('a comment', () => seen.text.split(': still here').length === round + 1)
    // What the filter left out counts too.
    assert.equal(seen.place(), String(2 * round))
  }
})

test('a filtered reader is not told to start over when only what it left out is no longer kept', async () => {
  await using house = await openHouse()
  const keys = { type: 'haus.key.' }
  await house.tell({ type: 'haus.key.created' })
  const first = house.events.open(operator, keys, '0')
  const seen = collect(first)
  await until('the event', () => seen.ids().length === 1)
  await house.tell(...Array.from({ length: 20 }, () => ({})))
  house.clock.advance(15_000)
  await until('the keep-alive', () => seen.text.includes(': still here'))
  first.destroy()
  await house.database.pool.query('delete from haus.ledger_event where index <= 15')
  await house.tell({ type: 'haus.key.revoked' })
  const again = collect(house.events.open(operator, keys, seen.place()))
  await until('what follows', () => again.ids().length > 0)
  assert.doesNotMatch(again.text, /reset/)
  assert.deepEqual(again.ids(), [22])
})

test('while it catches up, a stream names the place up to which it has read', async () => {
  const reads: PromiseWithResolvers<void>[] = []
  await using house = await openHouse(() => {
    const read = Promise.withResolvers<void>()
    reads.push(read)
    return read.promise
  })
  await house.tell(...Array.from({ length: 300 }, () => ({})))
  const seen = collect(house.events.open(operator, { type: 'haus.key.' }, '0'))
  await until('the first page is asked for', () => reads.length === 1)
  // Both are beyond what is read, and the first lies within the second page.
  await house.tell({ type: 'haus.key.created' }, {})
  house.clock.advance(15_000)
  await until('a keep-alive', () => seen.text.includes(': still here'))
  assert.equal(seen.place(), '0')
  reads[0]?.resolve()
  await until('the second page is asked for', () => reads.length === 2)
  house.clock.advance(15_000)
  await until('the next keep-alive', () => seen.place() === '256')
  reads[1]?.resolve()
  await until('the event', () => seen.ids().length === 1)
  assert.deepEqual(seen.ids(), [301])
  house.clock.advance(15_000)
  await until('the last keep-alive', () => seen.place() === '302')
  assert.equal(reads.length, 2)
})

test('keep-alives do not pile up before a reader that has stopped', async () => {
  await using house = await openHouse()
  const stream = house.events.open(operator, {}, undefined)
  stream.read()
  house.clock.advance(60 * 60_000)
  const seen = collect(stream)
  await until('the one that waited', () => seen.text.includes(': still here'))
  assert.equal(seen.text.split(': still here').length, 2)
})

test('too many streams of one caller are refused, and so is a resume point that is no number', async () => {
  await using house = await openHouse()
  for (let i = 0; i < 100; i++) house.events.open(service('orders'), {}, undefined)
  assert.throws(() => house.events.open(service('orders'), {}, undefined), { code: 'overloaded' })
  house.events.open(service('billing'), {}, undefined)
  assert.throws(() => house.events.open(operator, {}, 'abc'), { code: 'invalid_request' })
  assert.throws(() => house.events.open(operator, {}, '99999999999999999999'), {
    code: 'invalid_request',
  })
})
