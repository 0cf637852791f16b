import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ManualClock } from '../../testing/manual-clock.ts'
import { createLeases } from './leases.ts'

function openLeases() {
  const clock = new ManualClock()
  const expired: { id: string; atMs: number }[] = []
  const leases = createLeases({
    clock,
    onExpired: ({ id }) => expired.push({ id, atMs: clock.monotonicMs() }),
  })
  leases.start()
  return { clock, leases, expired }
}

test('a lease without a heartbeat ends after 30 s, noticed within two', () => {
  const { clock, leases, expired } = openLeases()
  clock.advance(12_345)
  leases.grant('a', 1, true)
  clock.advance(29_900)
  assert.deepEqual(expired, [])
  clock.advance(2_100)
  assert.deepEqual(
    expired.map(({ id }) => id),
    ['a'],
  )
  clock.advance(120_000)
  assert.equal(expired.length, 1, 'once')
})

test('at any times of grants, heartbeats and removals each lease ends when it should, and never early', () => {
  const step = fc.record({
    afterMs: fc.integer({ min: 0, max: 4_900 }),
    act: fc.constantFrom('grant', 'renew', 'drop'),
    id: fc.integer({ min: 0, max: 5 }).map(String),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const { clock, leases, expired } = openLeases()
      const heardMs = new Map<string, number>()
      const settle = (): void => {
        for (const { id, atMs } of expired.splice(0)) {
          const silentMs = atMs - (heardMs.get(id) ?? Number.NaN)
          assert(silentMs >= 30_000 && silentMs <= 32_000, `${id} ended after ${silentMs} ms`)
          heardMs.delete(id)
        }
        for (const [id, atMs] of heardMs) {
          assert(clock.monotonicMs() - atMs <= 32_000, `${id} should have ended`)
        }
      }
      for (const { afterMs, act, id } of steps) {
        clock.advance(afterMs)
        settle()
        const lease = leases.get(id)
        if (act === 'grant') {
          leases.grant(id, (lease?.incarnation ?? 0) + 1, true)
          heardMs.set(id, clock.monotonicMs())
        } else if (act === 'renew' && lease) {
          assert.equal(leases.renew(lease, undefined), !heardMs.has(id))
          heardMs.set(id, clock.monotonicMs())
        } else if (act === 'drop') {
          leases.drop(id)
          heardMs.delete(id)
        }
      }
      clock.advance(40_000)
      settle()
      assert.equal(heardMs.size, 0)
    }),
  )
})

test('after a start and after a stall every lease has a fresh term; a clock that was set changes nothing', () => {
  const { clock, leases, expired } = openLeases()
  leases.grant('a', 1, true)
  clock.advance(29_000)
  clock.stall(3_600_000)
  assert.deepEqual(expired, [], 'it was Haus that was away')
  clock.advance(29_000)
  assert.deepEqual(expired, [])
  clock.advance(3_000)
  assert.equal(expired.length, 1)
  const lease = leases.get('a')
  assert(lease && leases.renew(lease, 0.5))
  assert.equal(lease.load, 0.5)
  clock.setWall('2099-01-01T00:00:00.000Z')
  clock.advance(20_000)
  clock.setWall('1999-01-01T00:00:00.000Z')
  clock.advance(9_000)
  assert.equal(expired.length, 1)
})

test('an operator’s registration never expires', () => {
  const { clock, leases, expired } = openLeases()
  leases.grant('a', 1, false)
  clock.advance(600_000)
  assert.deepEqual(expired, [])
})

test('who was heard of is taken once, those that wait longest first, and a failed write puts them back', () => {
  const { leases } = openLeases()
  const ids = ['a', 'b', 'c']
  for (const id of ids) {
    const lease = leases.grant(id, 1, true)
    leases.renew(lease, undefined)
    leases.renew(lease, undefined)
  }
  assert.deepEqual(leases.takeHeard(2), ['a', 'b'])
  const first = leases.get('a')
  assert(first)
  leases.renew(first, undefined)
  leases.drop('b')
  leases.putBack(['b'])
  assert.deepEqual(leases.takeHeard(10), ['c', 'a'])
  assert.deepEqual(leases.takeHeard(10), [])
})

test('ten thousand leases cost one timer', () => {
  const { clock, leases } = openLeases()
  for (let place = 0; place < 10_000; place++) leases.grant(String(place), 1, true)
  assert.equal(clock.pending, 1)
  leases.stop()
  assert.equal(clock.pending, 0)
})
