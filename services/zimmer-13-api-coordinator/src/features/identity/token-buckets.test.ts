import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ManualClock } from '../../testing/manual-clock.ts'
import { Lru } from '../../platform/cache/lru.ts'
import { networkOf, TokenBuckets } from './token-buckets.ts'

test('a bucket gives its burst, then its rate, and says how long to wait', () => {
  const clock = new ManualClock()
  const buckets = new TokenBuckets(clock, { burst: 3, perSecond: 0.5 })
  assert.deepEqual(
    [1, 2, 3].map(() => buckets.take('a')),
    [0, 0, 0],
  )
  assert.equal(buckets.take('a'), 2)
  assert.equal(buckets.take('b'), 0, 'another key has a bucket of its own')
  clock.advance(1_000)
  assert.equal(buckets.take('a'), 1)
  clock.advance(1_000)
  assert.equal(buckets.take('a'), 0)
})

test('over any time, no key gets more than burst plus rate', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 5_000 }), { minLength: 1, maxLength: 200 }),
      (waitsMs) => {
        const clock = new ManualClock()
        const buckets = new TokenBuckets(clock, { burst: 5, perSecond: 2 })
        let given = 0
        for (const waitMs of waitsMs) {
          clock.advance(waitMs)
          if (buckets.take('a') === 0) given += 1
        }
        assert.ok(given <= 5 + 2 * (clock.monotonicMs() / 1_000) + 1e-6)
      },
    ),
  )
})

test('a wall clock that jumps fills no bucket', () => {
  const clock = new ManualClock()
  const buckets = new TokenBuckets(clock, { burst: 1, perSecond: 1 })
  assert.equal(buckets.take('a'), 0)
  clock.setWall('2030-01-01T00:00:00.000Z')
  assert.equal(buckets.take('a'), 1)
})

test('a million invented keys stay in bounded memory', () => {
  const buckets = new TokenBuckets(new ManualClock(), { burst: 1, perSecond: 1 })
  for (let i = 0; i < 100_000; i += 1) buckets.take(`k${i}`)
  assert.ok(buckets.size <= 8_192)
})

test('an LRU holds what was asked for lately, its capacity at most, and never a wrong value', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 12 })), { maxLength: 100 }),
      (steps) => {
        const lru = new Lru<number>(8)
        const truth = new Map<string, number>()
        let recent: string[] = []
        for (const [isSet, n] of steps) {
          const key = `k${n}`
          if (isSet) {
            lru.set(key, n * 2)
            truth.set(key, n * 2)
          }
          const found = lru.get(key)
          if (found !== undefined) assert.equal(found, truth.get(key))
          if (isSet || found !== undefined) recent = [key, ...recent.filter((k) => k !== key)]
          for (const kept of recent.slice(0, 4)) assert.equal(lru.get(kept), truth.get(kept))
          // Looking refreshed them, oldest last: so does the model.
          recent = [...recent.slice(0, 4).toReversed(), ...recent.slice(4)]
          assert.ok(lru.size <= 8)
        }
      },
    ),
  )
})

test('the network of an address is all of IPv4 and the /64 of IPv6', () => {
  const cases: [string, string][] = [
    ['192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:0001:2::1', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['fe80::1:2%eth0', 'fe80:0:0:0::/64'],
    ['64:ff9b::192.0.2.1', '64:ff9b:0:0::/64'],
    ['1:2:3:4:5:6:7::', '1:2:3:4::/64'],
  ]
  for (const [address, network] of cases) assert.equal(networkOf(address), network, address)
  assert.equal(networkOf('2001:db8:1:2:aaaa::1'), networkOf('2001:db8:1:2:bbbb::2'))
})
