import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ManualClock } from '../../testing/manual-clock.ts'
import { createPlaces, lanes, type Lane } from './places.ts'

function fill(places: ReturnType<typeof createPlaces>, lane: Lane, limit = 1_000): number {
  let count = 0
  while (count < limit && places.take(lane)) count += 1
  return count
}

test('64 at a time; what hangs and what has just come leave places to everybody else', () => {
  const places = createPlaces({ clock: new ManualClock() })
  assert.equal(fill(places, 'slow'), 40)
  assert.equal(fill(places, 'newcomer'), 8)
  assert.equal(fill(places, 'routine'), 8)
  assert.equal(fill(places, 'urgent'), 8)
  assert.equal(places.taken, 64)
  places.giveBack('slow')
  assert.equal(places.take('slow'), true)
})

test('whatever is taken and given back, no more than 64 are taken and each lane can have 8', () => {
  const step = fc.record({ lane: fc.constantFrom(...lanes), take: fc.boolean() })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const places = createPlaces({ clock: new ManualClock(), newcomerBurst: 1_000 })
      const taken: Record<Lane, number> = { urgent: 0, routine: 0, slow: 0, newcomer: 0 }
      for (const { lane, take } of steps) {
        if (!take) {
          if (taken[lane] === 0) continue
          places.giveBack(lane)
          taken[lane] -= 1
          continue
        }
        const got = places.take(lane)
        if (taken[lane] < 8) assert(got, `${lane} has ${taken[lane]}`)
        if (got) taken[lane] += 1
        assert(places.taken <= 64)
      }
    }),
  )
})

test('newcomers come in a burst and then at their pace, and it is known when there is room again', () => {
  const clock = new ManualClock()
  const places = createPlaces({ clock, newcomersPerSecond: 2, newcomerBurst: 3 })
  assert.equal(fill(places, 'newcomer'), 3)
  assert.equal(places.retryAfterMs('newcomer'), 500)
  clock.advance(499)
  assert.equal(places.take('newcomer'), false)
  clock.advance(1)
  assert.equal(places.take('newcomer'), true)
})

test('the pace of the round follows what is due, and gives way while the thread is busy', () => {
  const clock = new ManualClock()
  let demand = 10
  let busy = false
  const places = createPlaces({ clock, routineDemand: () => demand, busy: () => busy })
  const inFiveSeconds = (): number => {
    let count = 0
    for (let step = 0; step < 500; step++) {
      clock.advance(10)
      while (places.take('routine')) {
        count += 1
        places.giveBack('routine')
      }
    }
    return count / 5
  }
  inFiveSeconds()
  const within = (value: number, low: number, high: number): void =>
    assert(value >= low && value <= high, `${value}`)
  within(inFiveSeconds(), 99, 101)
  demand = 200
  within(inFiveSeconds(), 295, 305)
  demand = 10_000
  within(inFiveSeconds(), 495, 505)
  busy = true
  within(inFiveSeconds(), 99, 101)
})
