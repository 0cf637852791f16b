import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createClient, staticToken } from '../client/index.ts'
import { ManualClock } from '../testing/manual-clock.ts'
import { answerOf } from '../testing/scripted-house.ts'
import { json, problem, startScriptedServer } from '../testing/scripted-server.ts'
import { until } from '../testing/until.ts'
import { createDiscovery, type DiscoveryAnswer } from './discovery.ts'

async function open() {
  const clock = new ManualClock()
  const services = new Map<string, DiscoveryAnswer>([['billing', answerOf('billing', [1, 2])]])
  const server = await startScriptedServer(({ path }, response) => {
    const name = new URL(path, 'http://house').searchParams.get('service') ?? ''
    const found = services.get(name)
    if (found) json(response, 200, found)
    else problem(response, 404, 'service_not_found')
  })
  const state = { feedLive: true, reachable: true }
  const client = createClient({ url: server.url, tokens: staticToken('t'), clock })
  const discovery = createDiscovery({
    client,
    followed: new Set(['mail']),
    dependencies: ['mail'],
    isFeedLive: () => state.feedLive,
    isReachable: () => state.reachable,
    onChanged: () => {},
    clock,
    unit: () => 0.5,
  })
  return {
    clock,
    services,
    server,
    state,
    discovery,
    async [Symbol.asyncDispose]() {
      discovery.stop()
      await server.close()
    },
  }
}

test('many who ask for the first time share one request, and then none is needed', async () => {
  await using it = await open()
  await Promise.all([1, 2, 3].map(() => it.discovery.discover('billing')))
  await it.discovery.pick('billing')
  assert.equal(it.server.asked.length, 1)
  await it.discovery.discover('billing', { zone: 'a', tag: 'http' })
  assert.equal(it.server.asked.at(-1)?.path, '/api/discover?service=billing&tag=http&zone=a')
})

test('what nobody follows is asked for again when it is used, and nobody waits for it', async () => {
  await using it = await open()
  await it.discovery.discover('billing')
  it.services.set('billing', answerOf('billing', [3], 2))
  it.clock.advance(2_001)
  assert.equal((await it.discovery.discover('billing')).instances.length, 2)
  await until('the new answer', async () => (await it.discovery.discover('billing')).index === 2)
  assert.equal(it.server.asked.length, 2)
})

test('what is followed is not asked for while the feed tells of it', async () => {
  await using it = await open()
  it.services.set('mail', answerOf('mail', [1]))
  await it.discovery.prepare()
  it.clock.advance(59_000)
  await it.discovery.discover('mail')
  assert.equal(it.server.asked.length, 1)
  it.services.set('mail', answerOf('mail', [1, 2], 2))
  it.discovery.changed('mail')
  await until('the change', async () => (await it.discovery.discover('mail')).index === 2)
})

test('an answer that is old waits shortly for a new one', async () => {
  await using it = await open()
  await it.discovery.discover('billing')
  it.services.set('billing', answerOf('billing', [3], 2))
  it.clock.advance(31_000)
  assert.equal((await it.discovery.discover('billing')).index, 2)
})

test('while the house is away what was known last is the answer, however old', async () => {
  await using it = await open()
  await it.discovery.discover('billing')
  await it.server.close()
  it.state.reachable = false
  it.clock.advance(3_600_000)
  const { instances, ageMs } = await it.discovery.discover('billing')
  assert.equal(instances.length, 2)
  assert.equal(ageMs, 3_600_000)
  await assert.rejects(it.discovery.discover('mail'), { name: 'HausUnreachableError' })
  await it.server.open()
  it.services.set('billing', answerOf('billing', [3], 2))
  await until('the truth', async () => {
    if (it.clock.nextInMs !== undefined && it.clock.nextInMs <= 1_000)
      it.clock.advance(it.clock.nextInMs)
    return (await it.discovery.discover('billing')).index === 2
  })
})

test('known and nobody there is an error of its own; unknown is the house’s', async () => {
  await using it = await open()
  it.services.set('billing', answerOf('billing', []))
  assert.equal((await it.discovery.discover('billing')).address, null)
  await assert.rejects(it.discovery.pick('billing'), {
    name: 'NobodyServesError',
    service: 'billing',
  })
  await assert.rejects(it.discovery.pick('none'), { code: 'service_not_found' })
})

test('an instance that refused one call is not picked for the next', async () => {
  await using it = await open()
  let refused: string
  {
    using first = await it.discovery.pick('billing')
    refused = first.id
    first.failed()
  }
  for (let call = 0; call < 20; call++) {
    using next = await it.discovery.pick('billing')
    assert.notEqual(next.id, refused)
  }
})

test('made-up filters do not grow the memory', async () => {
  await using it = await open()
  for (let made = 0; made < 520; made++) await it.discovery.discover('billing', { tag: `t${made}` })
  assert.equal(it.discovery.known().length, 512)
})
