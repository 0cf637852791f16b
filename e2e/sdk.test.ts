/** The room kit against the real house. */
import assert from 'node:assert/strict'
import { createServer, type AddressInfo } from 'node:net'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { startHouse, temporaryFolder, type House } from './harness.ts'
import { createPlace, startService } from './sdk-service.ts'
import { setTimeout as delay } from 'node:timers/promises'

async function until<T>(what: string, look: () => T | Promise<T>): Promise<NonNullable<T>> {
  const endMs = performance.now() + 30_000
  for (;;) {
    const found = await look()
    if (found) return found
    if (performance.now() > endMs) throw new Error(`Waited too long for: ${what}`)
    await delay(10)
  }
}

async function freePort(): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => listener.once('listening', resolve))
  const { port } = listener.address() as AddressInfo
  await new Promise((resolve) => listener.close(resolve))
  return port
}

const canary = 'canary-7f3a'

async function createCredential(house: House, name: string, services: string[]): Promise<string> {
  const data = { password: `${canary}-1` }
  const { body } = await house.operator.expectSoon(201, 'POST', '/api/credentials/create', {
    name,
    data,
    services,
  })
  return body.id
}

test('a service joins with its credentials, is found, follows a new version, and leaves', async () => {
  await using house = await startHouse()
  const place = await createPlace(house, 'orders')
  const credentialId = await createCredential(house, 'orders-database', ['orders'])
  await using service = await startService(house.url, place)
  const { house: joined, port } = service
  assert.equal(joined.state, 'registered')
  assert.equal(joined.credential('orders-database').reveal()['password'], `${canary}-1`)
  assert.ok(!inspect(joined, { depth: 10 }).includes(canary))
  const found = await joined.discover('orders')
  assert.deepEqual(
    found.instances.map((instance) => [instance.port, instance.health]),
    [[port, 'healthy']],
  )

  const seen: unknown[] = []
  joined.on('credentials', ({ name, current, previous }) => {
    seen.push([name, previous?.version, current?.version, joined.credential(name).version])
  })
  // The feed is open once the house has one stream.
  await until('the feed', async () => {
    const { body } = await house.operator.expect(200, 'GET', '/api/health/system')
    return body.streams === 1
  })
  await house.operator.expectSoon(201, 'POST', `/api/credentials/${credentialId}`, {
    data: { password: `${canary}-2` },
  })
  await until('the new version', () => joined.credential('orders-database').version === 2)
  assert.deepEqual(seen, [['orders-database', 1, 2, 1]])

  await joined.leave()
  const { body } = await house.operator.expect(200, 'GET', '/api/services/orders')
  assert.deepEqual(body.instances, [])
})

test('a house that was killed and returns finds its services registered, without a new start of theirs', async () => {
  const dataDir = temporaryFolder()
  const env = { HAUS_API_ADDR: `127.0.0.1:${await freePort()}` }
  const first = await startHouse({ dataDir, env })
  const place = await createPlace(first, 'orders')
  await using service = await startService(first.url, place)
  const before = service.house.instance
  await until('the feed', async () => {
    const { body } = await first.operator.expect(200, 'GET', '/api/health/system')
    return body.streams === 1
  })
  await first.kill9()
  await until('away', () => !service.house.reachable)
  await using second = await startHouse({ dataDir, env })
  await until('back', () => service.house.reachable)
  await until('healthy', async () => {
    const { body } = await second.operator.expect(200, 'GET', '/api/services/orders')
    return body.instances[0].state === 'healthy' && body.instances[0].incarnation === 1
  })
  assert.deepEqual(service.house.instance, before)
})
