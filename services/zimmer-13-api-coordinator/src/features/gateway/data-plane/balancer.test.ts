import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TrafficInstance } from '../messages.ts'
import { pickInstance } from './balancer.ts'
import { Instance } from './instance.ts'
import { Service } from './service.ts'

const anyAddress = {
  refusal: () => null,
  lookupFor: () => () => assert.fail('nothing connects here'),
}
/** Past the slow start. */
const grownMs = 60_000

function serviceOf(...instances: Partial<TrafficInstance>[]): Service {
  const service = new Service('orders')
  const known = instances.map((instance, place) => ({
    id: String(place),
    incarnation: 1,
    address: '127.0.0.1',
    port: 3000 + place,
    scheme: 'http' as const,
    zone: null,
    state: 'healthy' as const,
    tier: 0,
    weight: 100,
    ...instance,
  }))
  service.takeAll({ name: 'orders', aliases: [], callers: null, instances: known }, anyAddress, 0)
  return service
}

/** Repeatable: a linear congruence is random enough to draw by. */
function chance(): () => number {
  let state = 1
  return () => {
    state = (state * 48_271) % 2_147_483_647
    return state / 2_147_483_647
  }
}

/** One after the other: nothing is in flight when the next is picked. */
function quietCalls(service: Service, latencyMs: (id: string, call: number) => number) {
  const unit = chance()
  const calls = new Map<string, number>()
  let nowMs = grownMs
  for (let call = 0; call < 1_000; call += 1) {
    const picked = pickInstance(service, null, nowMs, unit)
    assert.ok(picked instanceof Instance)
    const count = calls.get(picked.id) ?? 0
    const tookMs = latencyMs(picked.id, count)
    calls.set(picked.id, count + 1)
    nowMs += tookMs
    picked.observe(tookMs, nowMs)
  }
  return calls
}

test('a quiet service is spread over instances that are alike', () => {
  const calls = quietCalls(serviceOf({}, {}), () => 2)
  assert.ok(Math.min(...calls.values()) > 400, JSON.stringify([...calls]))
})

test('an instance whose first answer was slow, as of a cold program, is not held to it', () => {
  const calls = quietCalls(serviceOf({}, {}), (id, call) => (id === '0' && call === 0 ? 200 : 2))
  assert.ok(Math.min(...calls.values()) > 400, JSON.stringify([...calls]))
})

test('a slow instance gets less, and is tried now and then, so that it can show it is well again', () => {
  const calls = quietCalls(serviceOf({}, {}), (id) => (id === '0' ? 20 : 2))
  const slow = calls.get('0') ?? 0
  assert.ok(slow > 50 && slow < 250, `${slow} of 1,000`)
})

test('the one with less in flight is picked', () => {
  const service = serviceOf({}, {})
  const [busy, idle] = service.instances
  assert.ok(busy && idle)
  for (const instance of [busy, idle])
    for (const call of [1, 2]) instance.observe(2, grownMs + call)
  busy.inFlight = 20
  const unit = chance()
  for (let call = 0; call < 100; call += 1) {
    assert.equal(pickInstance(service, null, grownMs + 3, unit), idle)
  }
})

test('traffic follows the weights, and weight of a degraded instance counts a quarter', () => {
  const weighted = quietCalls(serviceOf({ weight: 300 }, { weight: 100 }), () => 2)
  assert.ok(Math.abs((weighted.get('0') ?? 0) - 750) < 60, JSON.stringify([...weighted]))
  const degraded = quietCalls(serviceOf({}, { state: 'degraded' }), () => 2)
  assert.ok(Math.abs((degraded.get('0') ?? 0) - 800) < 60, JSON.stringify([...degraded]))
})

test('a worse tier serves only when nobody of a better one is there', () => {
  const service = serviceOf({ tier: 2, state: 'suspect' }, {})
  const [suspect, healthy] = service.instances
  assert.ok(suspect && healthy)
  assert.equal(pickInstance(service, null, grownMs, chance()), healthy)
  assert.equal(pickInstance(service, healthy, grownMs, chance()), suspect)
  assert.equal(pickInstance(serviceOf({ tier: null }), null, grownMs, chance()), 'none')
})
