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

function known(place: number, change: Partial<TrafficInstance> = {}): TrafficInstance {
  return {
    id: String(place),
    incarnation: 1,
    address: '127.0.0.1',
    port: 3000 + place,
    scheme: 'http',
    zone: null,
    state: 'healthy',
    tier: 0,
    weight: 100,
    ...change,
  }
}

function serviceOf(...instances: TrafficInstance[]): Service {
  const service = new Service('orders')
  tell(service, 0, ...instances)
  return service
}

function tell(service: Service, nowMs: number, ...instances: TrafficInstance[]): void {
  service.takeAll({ name: 'orders', aliases: [], callers: null, instances }, anyAddress, nowMs)
}

function eject(instance: Instance | undefined): void {
  for (let count = 0; count < 5; count++) instance?.breaker.failed(0, 0.5, true)
}

const middle = (): number => 0.5

test('an instance that the gateway saw refuse is kept back at once, and serves when it is the last', () => {
  const service = serviceOf(known(0), known(1))
  const [first, second] = service.instances
  assert.ok(first && second)
  assert.equal(first.withhold(1_000), true)
  assert.equal(first.withhold(1_001), false, 'the house hears of a burst once')
  for (const unit of [0, 0.3, 0.6, 0.99]) {
    assert.equal(
      pickInstance(service, null, 1_002, () => unit),
      second,
    )
  }
  second.withhold(1_002)
  assert.ok(pickInstance(service, null, 1_003, middle) instanceof Instance)
})

test('what the house says of it ends the gateway’s own doubt, and so does time', () => {
  const service = serviceOf(known(0), known(1))
  const [first] = service.instances
  first?.withhold(1_000)
  tell(service, 1_200, known(0, { state: 'suspect', tier: 2 }), known(1))
  tell(service, 1_400, known(0), known(1))
  assert.equal(first?.tier(1_401), 0)
  first?.withhold(2_000)
  assert.equal(first?.tier(4_001), 0)
})

test('the house hears again of a suspect that fails, which may have been on its way back', () => {
  const service = serviceOf(known(0))
  const [instance] = service.instances
  assert.ok(instance)
  assert.equal(instance.withhold(1_000), true)
  tell(service, 1_001, known(0, { state: 'suspect', tier: 2 }))
  assert.equal(instance.withhold(1_002), true)
  // One probe of the house passed meanwhile, which changes no state; now it is dead again.
  assert.equal(instance.withhold(1_800), true)
  assert.equal(instance.withhold(1_801), false)
})

test('a probe that finds it working closes the breaker', () => {
  const service = serviceOf(known(0, { state: 'offline', tier: null }))
  const [instance] = service.instances
  eject(instance)
  tell(service, 10, known(0))
  assert.equal(instance?.breaker.state, 'closed')
})

test('a new start of an instance begins with a clean record; the same start keeps it', () => {
  const service = serviceOf(known(0), known(1))
  const [before, other] = service.instances
  tell(service, 10, known(0, { incarnation: 2 }), known(1, { weight: 50 }))
  assert.notEqual(service.instances[0], before)
  assert.equal(service.instances[1], other)
  assert.equal(other?.known.weight, 50)
})

test('half of the instances may be ejected, and of a single one that one', () => {
  const one = serviceOf(known(0))
  assert.equal(one.mayEject(), true)
  eject(one.instances[0])
  assert.equal(pickInstance(one, null, 1, middle), 'circuit_open')
  const three = serviceOf(known(0), known(1), known(2))
  assert.equal(three.mayEject(), true)
  eject(three.instances[0])
  assert.equal(three.mayEject(), false)
})

test('when most are ejected the breakers are ignored, and that is told', () => {
  const service = serviceOf(known(0), known(1), known(2))
  eject(service.instances[0])
  eject(service.instances[1])
  assert.ok(pickInstance(service, null, 1, middle) instanceof Instance)
  assert.equal(service.panic, true)
})

test('an instance with 256 requests is full; when all are, the request waits', () => {
  const service = serviceOf(known(0), known(1))
  const [first, second] = service.instances
  assert.ok(first && second)
  first.inFlight = 256
  assert.equal(pickInstance(service, null, 1, middle), second)
  second.inFlight = 256
  assert.equal(pickInstance(service, null, 1, middle), 'full')
})

test('when breakers leave nobody of the best, whoever comes next to them serves', () => {
  const service = serviceOf(known(0), known(1, { state: 'suspect', tier: 2 }))
  const [best, next] = service.instances
  assert.equal(pickInstance(service, null, 1, middle), best)
  eject(best)
  assert.equal(pickInstance(service, null, 1, middle), next)
  eject(next)
  assert.equal(pickInstance(service, null, 1, middle), 'circuit_open')
})

test('tcp, draining and weightless instances are never picked', () => {
  const service = serviceOf(known(0, { scheme: 'tcp' }), known(1, { tier: null }))
  assert.equal(pickInstance(service, null, 1, middle), 'none')
})

test('retries are free while a sibling is without fault, and rationed when nobody is', () => {
  const service = serviceOf(known(0), known(1))
  const [first, second] = service.instances
  assert.ok(first && second)
  service.active = 100
  service.retrying = 50
  first.breaker.failed(1, 0.5, true)
  assert.equal(service.mayRetry(first, 1), true)
  second.breaker.failed(1, 0.5, true)
  assert.equal(service.mayRetry(first, 1), false)
  service.retrying = 19
  assert.equal(service.mayRetry(first, 1), true)
})

test('who comes new begins with a tenth of its share and has all of it after ten seconds', () => {
  const service = serviceOf(known(0))
  const [instance] = service.instances
  assert.ok(Math.abs((instance?.share(0) ?? 0) - 10) < 0.001)
  assert.ok(Math.abs((instance?.share(5_000) ?? 0) - 55) < 0.001)
  assert.equal(instance?.share(10_000), 100)
})

test('an update leaves the instances that it does not name as they are', () => {
  const service = serviceOf(known(0), known(1), known(2))
  const [first, second, third] = service.instances
  assert.ok(first && second && third)
  const instances = [known(0, { state: 'suspect', tier: 2 }), known(3)]
  const update = {
    name: 'orders',
    aliases: [],
    callers: null,
    instances,
    gone: [second.id],
    forgotten: false,
  }
  service.take(update, anyAddress, 0)
  assert.deepEqual(
    service.instances.map(({ id }) => id),
    [known(0).id, known(2).id, known(3).id],
  )
  assert.equal(service.instances[0], first)
  assert.equal(first.known.state, 'suspect')
  assert.equal(service.instances[1], third)
})
