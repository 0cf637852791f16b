import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '../testing/manual-clock.ts'
import { answerOf } from '../testing/scripted-house.ts'
import { createBalancer, type Found } from './balancer.ts'

/** The same numbers at each run. */
function seeded(): () => number {
  let state = 42
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32
    return state / 2 ** 32
  }
}

function found(ports: readonly number[], more: Partial<Found> = {}): Found[] {
  return answerOf('billing', ports).instances.map((instance) => ({ ...instance, ...more }))
}

function counts(balancer: ReturnType<typeof createBalancer>, candidates: readonly Found[]) {
  const count = new Map<number, number>()
  for (let call = 0; call < 1_000; call++) {
    using picked = balancer.pick(candidates)
    const port = picked?.port ?? 0
    count.set(port, (count.get(port) ?? 0) + 1)
  }
  return (port: number): number => count.get(port) ?? 0
}

test('calls that end at once spread evenly', () => {
  const count = counts(createBalancer(new ManualClock(), seeded()), found([1, 2, 3, 4]))
  for (const port of [1, 2, 3, 4]) assert.ok(count(port) > 180, `${port}: ${count(port)}`)
})

test('an instance that is slower gets less', () => {
  const balancer = createBalancer(new ManualClock(), seeded())
  const candidates = found([1, 2])
  const held = Array.from({ length: 10 }, () => balancer.pick(candidates.slice(0, 1)))
  const count = counts(balancer, candidates)
  assert.equal(count(1), 0)
  for (const picked of held) picked?.[Symbol.dispose]()
  assert.ok(counts(balancer, candidates)(1) > 400)
})

test('weight counts, and a degraded instance takes less', () => {
  const balancer = createBalancer(new ManualClock(), seeded())
  const heavy = found([1], { weight: 300 })
  const light = found([2])
  const ill = found([3], { health: 'degraded', weight: 300 })
  const byWeight = counts(balancer, [...heavy, ...light])
  assert.ok(byWeight(1) > byWeight(2))
  const byHealth = counts(balancer, [...heavy, ...ill])
  assert.ok(byHealth(1) > byHealth(3))
})

test('one that failed is left alone, longer each time, until it works again', () => {
  const clock = new ManualClock()
  const balancer = createBalancer(clock, seeded())
  const candidates = found([1, 2])
  const failOnce = (): void => {
    using picked = balancer.pick(candidates.slice(0, 1))
    picked?.failed()
    picked?.failed()
  }
  failOnce()
  assert.equal(counts(balancer, candidates)(1), 0)
  clock.advance(1_000)
  assert.ok(counts(balancer, candidates)(1) > 0)
  failOnce()
  failOnce()
  clock.advance(1_999)
  assert.equal(counts(balancer, candidates)(1), 0)
})

test('when all have failed all are tried, since an answer is better than none', () => {
  const balancer = createBalancer(new ManualClock(), seeded())
  const candidates = found([1, 2])
  for (let call = 0; call < 2; call++) {
    using picked = balancer.pick(candidates)
    picked?.failed()
  }
  const count = counts(balancer, candidates)
  assert.ok(count(1) > 0 && count(2) > 0)
})

test('nobody is nobody', () => {
  assert.equal(createBalancer(new ManualClock(), seeded()).pick([]), undefined)
})
