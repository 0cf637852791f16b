import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { instanceStates, type InstanceState } from '@haus/contract'
import { createBalancer, serving, type Candidate } from './balancer.ts'

/** mulberry32: small, seeded, even enough for statistics. */
function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

const candidate = (weight: number, load = 0, state: InstanceState = 'healthy'): Candidate => ({
  state,
  weight,
  vital: { load },
})

const draws = 100_000

function shares(candidates: readonly Candidate[], seed = 7): number[] {
  const balancer = createBalancer(candidates)
  const unit = seeded(seed)
  const counts = candidates.map(() => 0)
  for (let draw = 0; draw < draws; draw++) {
    const pick = balancer.pick(unit)
    counts[pick] = (counts[pick] ?? 0) + 1
  }
  return counts
}

/** Pearson's chi-squared against the expected shares. */
function chiSquared(counts: readonly number[], expected: readonly number[]): number {
  const total = expected.reduce((sum, share) => sum + share, 0)
  return counts.reduce((sum, count, place) => {
    const due = (draws * (expected[place] ?? 0)) / total
    return sum + (count - due) ** 2 / due
  }, 0)
}

// Critical values at p = 0.001; the seeds are fixed, so that a failure is a change and not bad luck.
test('without load each instance is picked in proportion to its weight', () => {
  assert(chiSquared(shares([candidate(100), candidate(100), candidate(100)]), [1, 1, 1]) < 13.8)
  assert(
    chiSquared(
      shares([candidate(10), candidate(20), candidate(70), candidate(1)]),
      [10, 20, 70, 1],
    ) < 16.3,
  )
})

test('a degraded instance takes a quarter of its share', () => {
  const counts = shares([candidate(100), candidate(100, 0, 'degraded')])
  assert(chiSquared(counts, [4, 1]) < 10.8)
})

test('of two that are drawn the one with less load serves', () => {
  // Drawn with replacement: the busier of two keeps only the case in which it is drawn twice.
  const counts = shares([candidate(100, 0.9), candidate(100, 0.1)])
  assert(chiSquared(counts, [1, 3]) < 10.8)
  // The busiest of ten keeps one in a hundred, the idlest nineteen.
  const ten = shares(Array.from({ length: 10 }, (_, place) => candidate(100, place / 10)))
  assert(chiSquared(ten, [19, 17, 15, 13, 11, 9, 7, 5, 3, 1]) < 27.9)
})

test('load is read at each pick: a heartbeat moves traffic without a new balancer', () => {
  const first = candidate(100)
  const balancer = createBalancer([first, candidate(100, 0.5)])
  const unit = seeded(1)
  const share = () =>
    Array.from({ length: 1_000 }, () => balancer.pick(unit)).filter((pick) => pick === 0).length
  assert(share() > 650)
  first.vital.load = 1
  assert(share() < 350)
})

test('nobody to pick is -1, and the only one is picked without a draw', () => {
  const never = () => assert.fail('drawn')
  assert.equal(createBalancer([]).pick(never), -1)
  assert.equal(createBalancer([candidate(1)]).pick(never), 0)
})

test('every draw is a candidate, also at the ends of the range', () => {
  for (const unit of [0, 0.5, 1 - 2 ** -53]) {
    const uneven = createBalancer([candidate(1), candidate(1_000), candidate(3)])
    assert([0, 1, 2].includes(uneven.pick(() => unit)))
    const even = createBalancer([candidate(5), candidate(5)])
    assert([0, 1].includes(even.pick(() => unit)))
  }
})

const ranks = {
  healthy: 1,
  degraded: 1,
  pending: 2,
  suspect: 3,
  unknown: 3,
  draining: null,
  maintenance: null,
  offline: null,
} as const satisfies Record<InstanceState, number | null>

test('only the best rank serves, weight 0 never does, and what is withheld is never picked', () => {
  const anyCandidate = fc
    .record({ state: fc.constantFrom(...instanceStates), weight: fc.integer({ min: 0, max: 3 }) })
    .map(({ state, weight }) => candidate(weight, 0, state))
  fc.assert(
    fc.property(fc.array(anyCandidate, { maxLength: 12 }), fc.integer(), (candidates, seed) => {
      const able = candidates.filter(({ state, weight }) => weight > 0 && ranks[state] !== null)
      const best = Math.min(...able.map(({ state }) => ranks[state] ?? Infinity))
      const serves = serving(candidates)
      assert.deepEqual(
        serves,
        able.filter(({ state }) => ranks[state] === best),
      )
      const pick = createBalancer(serves).pick(seeded(seed))
      assert.equal(pick === -1, serves.length === 0)
    }),
  )
})
