import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TrafficUpdate } from '../messages.ts'
import { House } from './house.ts'

function update(name: string, change: Partial<TrafficUpdate> = {}): TrafficUpdate {
  const nothing = { aliases: [], callers: null, instances: [], gone: [], forgotten: false }
  return { name, ...nothing, ...change }
}

test('a service that is forgotten leads nowhere, and its aliases are free for another', () => {
  const house = new House({ allow: [], nowMs: () => 0 })
  house.takeUpdates([update('orders', { aliases: ['shop'] }), update('stock')], 1)
  house.takeUpdates([update('orders', { forgotten: true })], 2)
  assert.equal(house.service('orders'), undefined)
  assert.equal(house.service('shop'), undefined)
  house.takeUpdates([update('stock', { aliases: ['shop'] })], 3)
  assert.equal(house.service('shop')?.name, 'stock')
  assert.deepEqual(
    [...house.services()].map(({ name }) => name),
    ['stock'],
  )
})
