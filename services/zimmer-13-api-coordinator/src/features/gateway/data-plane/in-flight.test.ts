import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { InFlight, type Placed } from './in-flight.ts'

test('it holds what a set would hold, whatever comes and goes', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(9))), (steps) => {
      const items: readonly Placed[] = Array.from({ length: 10 }, () => ({ place: -1 }))
      const model = new Set<Placed>()
      const inFlight = new InFlight<Placed>()
      for (const [comes, which] of steps) {
        const item = items[which]
        assert.ok(item)
        if (comes) {
          model.add(item)
          inFlight.add(item)
        } else {
          model.delete(item)
          inFlight.delete(item)
        }
        assert.equal(inFlight.size, model.size)
        assert.deepEqual(new Set(inFlight), model)
      }
    }),
  )
})

test('whoever looks at them may end them', () => {
  const items: readonly Placed[] = [{ place: -1 }, { place: -1 }, { place: -1 }]
  const inFlight = new InFlight<Placed>()
  for (const item of items) inFlight.add(item)
  let seen = 0
  for (const item of inFlight) {
    inFlight.delete(item)
    seen += 1
  }
  assert.deepEqual([seen, inFlight.size], [3, 0])
})
