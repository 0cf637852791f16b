import assert from 'node:assert/strict'
import { test } from 'node:test'
import { discover, HausError, type InstanceState } from '@haus/contract'
import { Value } from 'typebox/value'
import type { NewEvent } from '../../platform/ledger/index.ts'
import { createTestView } from '../../testing/registry-view.ts'
import { createDiscovery, type DiscoveryQuery } from './discovery.ts'
import {
  instanceChanged,
  instanceRegistered,
  serviceChanged,
  type InstanceRecord,
} from './records.ts'

const time = '2026-11-23T12:00:00.000Z'

function instance(place: number, fields: Partial<InstanceRecord> = {}): InstanceRecord {
  return {
    id: `01933b6e-7c00-7000-8000-${String(place).padStart(12, '0')}`,
    service: 'orders',
    incarnation: 1,
    revision: 1,
    version: '1.0.0',
    address: '10.0.0.1',
    port: 3000 + place,
    scheme: 'http',
    healthEndpoint: '/up',
    state: 'healthy',
    reason: null,
    weight: 100,
    zone: null,
    tags: [],
    metadata: {},
    leased: true,
    draining: false,
    maintenance: false,
    registeredAt: time,
    stateChangedAt: time,
    ...fields,
  }
}

function openDiscovery(instances: readonly InstanceRecord[]) {
  const view = createTestView()
  const beliefs = new Map<string, InstanceState>()
  const loads = new Map<string, { load: number }>()
  let index = 0
  const apply = (...events: NewEvent[]): void => {
    view.apply(events.map((event) => ({ ...event, index: ++index, time })))
  }
  apply(
    serviceChanged({
      name: 'orders',
      aliases: ['zimmer-21'],
      aliasesMac: view.sealAliases('orders', ['zimmer-21']),
      callers: null,
      dependencies: [],
      endpoints: [{ path: '/orders', methods: ['GET'] }],
      healthIntervalSeconds: 30,
      revision: 1,
      createdAt: time,
    }),
    ...instances.map(instanceRegistered),
  )
  const discovery = createDiscovery({
    view,
    believed: (id) => beliefs.get(id),
    vital: (id) => loads.get(id) ?? { load: 0 },
    unit: () => 0,
  })
  const ask = (query: Partial<DiscoveryQuery> = {}) => {
    const answer: unknown = JSON.parse(discovery.answer({ service: 'orders', ...query }).toString())
    assert(Value.Check(discover.answers[200].schema, answer), 'the answer keeps the contract')
    return answer
  }
  return { view, discovery, ask, apply, beliefs }
}

test('the answer keeps the contract, and its head is the pick', () => {
  const { ask } = openDiscovery([
    instance(1),
    instance(2, { tags: ['"quoted"', '\\'], metadata: { a: 'ü\n' } }),
  ])
  const answer = ask()
  assert.equal(answer.port, 3001)
  assert.equal(answer.url, 'http://10.0.0.1:3001')
  assert.equal(answer.health, 'healthy')
  assert.equal(answer.loadBalancing.candidates, 2)
  assert.deepEqual(answer.instances[1]?.tags, ['"quoted"', '\\'])
  assert.equal(answer.index, 3)
  assert.deepEqual(ask({ service: 'zimmer-21' }), answer, 'an alias is as good as the name')
})

test('addresses are written as URLs need them: IPv6 in brackets, none for tcp', () => {
  const { ask } = openDiscovery([instance(1, { address: 'fd00::7', scheme: 'https' })])
  assert.equal(ask().url, 'https://[fd00::7]:3001')
  assert.equal(openDiscovery([instance(1, { scheme: 'tcp' })]).ask().url, null)
})

test('an unknown service is refused; a known one that nobody can serve answers with null', () => {
  const { ask, discovery } = openDiscovery([instance(1, { state: 'offline' })])
  assert.throws(
    () => discovery.answer({ service: 'nobody' }),
    (error) => error instanceof HausError && error.code === 'service_not_found',
  )
  const answer = ask()
  assert.deepEqual(
    [answer.address, answer.port, answer.url, answer.health, answer.instances],
    [null, null, null, 'offline', []],
  )
  assert.equal(openDiscovery([]).ask().address, null)
})

test('tag, zone and version narrow the candidates, alone and together', () => {
  const { ask } = openDiscovery([
    instance(1, { tags: ['a'], zone: 'north', version: '1.0.0' }),
    instance(2, { tags: ['a', 'b'], zone: 'south', version: '2.0.0' }),
    instance(3, { tags: ['b'], zone: 'north', version: '2.0.0' }),
  ])
  const ports = (query: Partial<DiscoveryQuery>) => ask(query).instances.map(({ port }) => port)
  assert.deepEqual(ports({ tag: 'a' }), [3001, 3002])
  assert.deepEqual(ports({ zone: 'north' }), [3001, 3003])
  assert.deepEqual(ports({ version: '2.0.0', tag: 'b', zone: 'north' }), [3003])
  assert.deepEqual(ports({ tag: 'c' }), [])
  assert.equal(ask({ tag: 'c' }).address, null)
})

test('a change of the view and a newer belief both count in the next answer', () => {
  const { ask, apply, beliefs, discovery } = openDiscovery([instance(1), instance(2)])
  assert.equal(ask({ tag: 'new' }).instances.length, 0)
  apply(instanceChanged(instance(2, { revision: 2, tags: ['new'], weight: 7 })))
  assert.equal(ask({ tag: 'new' }).instances[0]?.weight, 7)
  assert.equal(ask().index, 4)
  const [first] = ask().instances
  beliefs.set(first?.id ?? '', 'suspect')
  discovery.forget('orders')
  assert.deepEqual(
    ask().instances.map(({ port }) => port),
    [3002],
  )
  assert.equal(ask().health, 'degraded')
})

test('a service too large to keep an answer per instance ready is answered all the same', () => {
  const { ask } = openDiscovery(Array.from({ length: 300 }, (_, place) => instance(place + 1)))
  for (let question = 0; question < 3; question++) {
    assert.equal(ask().instances.length, 300)
    assert.equal(ask().port, 3001)
  }
})
