/** The life of a service with the room kit, against the real house, and the program of the guide. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { inspect } from 'node:util'
import { Secret, serviceTokens } from '@haus/sdk/client'
import { ManualClock } from '../packages/sdk/src/testing/manual-clock.ts'
import { until } from '../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { createCredential } from './client.ts'
import { freePort } from './free-port.ts'
import { folderWithDatabase, repositoryRoot, startHouse, type House } from './harness.ts'
import { plainEnvironment } from './plain-environment.ts'
import { createPlace, folder, startService, type Place } from './sdk-service.ts'

const canary = 'canary-7f3a'

async function grantCredential(house: House, name: string, service: string): Promise<string> {
  const { id } = await createCredential(house.operator, {
    name,
    data: { password: `${canary}-1` },
    services: [service],
  })
  return id
}

async function streams(house: House, count: number): Promise<void> {
  await until('the feed', async () => {
    const { body } = await house.operator.expect(200, 'GET', '/api/health/system')
    return body.streams >= count
  })
}

function assertSilent(house: House, place: Place): void {
  const said = `${house.stdout()}\n${house.stderr()}\n${place.log.join('\n')}`
  for (const secret of [canary, place.key.clientSecret]) assert.ok(!said.includes(secret))
}

test('the life of a service', async (t) => {
  await using house = await startHouse()
  const place = await createPlace(house, 'orders')
  const credentialId = await grantCredential(house, 'orders-database', 'orders')
  const service = await startService(house.url, place, {
    parseConfig: (data) => {
      if (typeof (data['pageSize'] ?? 0) !== 'number') throw new Error('pageSize must be a number')
      return data
    },
  })
  const { house: joined, port } = service
  await streams(house, 1)

  await t.test('it joins with its credentials and is found', async () => {
    assert.equal(joined.state, 'registered')
    assert.equal(joined.credential('orders-database').reveal()['password'], `${canary}-1`)
    assert.ok(!inspect(joined, { depth: 10 }).includes(canary))
    const found = await joined.discover('orders')
    assert.deepEqual(
      found.instances.map((instance) => [instance.port, instance.health]),
      [[port, 'healthy']],
    )
  })

  await t.test('a new version of a credential arrives while both are at hand', async () => {
    const seen: unknown[] = []
    const off = joined.on('credentials', ({ name, current, previous }) => {
      seen.push([name, previous?.version, current?.version, joined.credential(name).version])
    })
    await house.operator.expectSoon(201, 'POST', `/api/credentials/${credentialId}`, {
      data: { password: `${canary}-2` },
    })
    await until('the new version', () => joined.credential('orders-database').version === 2)
    assert.deepEqual(seen, [['orders-database', 1, 2, 1]])
    off()
  })

  await t.test('a configuration that it refuses leaves the old one in use', async () => {
    const put = (data: unknown) =>
      house.operator.expectSoon(200, 'PUT', '/api/services/orders/config', { data })
    await put({ pageSize: 5 })
    await until('the configuration', () => joined.configVersion === 1)
    await put({ pageSize: 'many' })
    await until('the refusal', () => place.log.some((line) => line.includes('pageSize must be')))
    assert.deepEqual(joined.config, { pageSize: 5 })
    await put({ pageSize: 6 })
    await until('the mended one', () => joined.configVersion === 3)
  })

  await t.test(
    'tokens are told apart, and the house refuses one for another audience',
    async () => {
      const token = (await joined.tokenFor('haus-gateway')).reveal()
      assert.equal((await joined.verifyToken(token)).service, 'orders')
      const own = (await joined.tokenFor('haus')).reveal()
      await assert.rejects(joined.verifyToken(own), { code: 'token_wrong_audience' })
      assert.equal((await house.as(token).get('/api/discover?service=orders')).status, 401)
    },
  )

  await t.test(
    'a token is renewed at half of its life, while the one before still holds',
    async () => {
      const clock = new ManualClock()
      const { clientId, clientSecret } = place.key
      const key = () => Promise.resolve({ clientId, clientSecret: new Secret(clientSecret) })
      const tokens = serviceTokens({ url: house.url, key, clock })
      const first = (await tokens.token('haus')).reveal()
      clock.advance(450_000)
      assert.equal((await tokens.token('haus')).reveal(), first)
      const next = await until('the renewal', async () => {
        const token = (await tokens.token('haus')).reveal()
        return token === first ? undefined : token
      })
      for (const token of [first, next]) {
        assert.equal((await house.as(token).get('/api/discover?service=orders')).status, 200)
      }
    },
  )

  await t.test('a key that is revoked ends what it may ask, and not what it has', async () => {
    const { clientId } = place.key
    await house.operator.expectSoon(204, 'DELETE', `/api/services/orders/keys/${clientId}`)
    await assert.rejects(joined.client.call('getService', { params: { name: 'orders' } }), {
      code: 'invalid_client',
    })
    assert.equal(joined.credential('orders-database').version, 2)
  })

  await service.house.leave()
  assertSilent(house, place)

  await t.test(
    'the program of the guide joins, calls another service, and ends with 0 at SIGTERM',
    (guide) => runGuide(house, guide),
  )
})

test('a service that restarts while the house is away starts from its cache, and is registered when it returns', async (t) => {
  const dataDir = await folderWithDatabase()
  t.after(() => rmSync(dataDir, { recursive: true, force: true }))
  const env = { HAUS_API_ADDR: `127.0.0.1:${await freePort()}` }
  const first = await startHouse({ dataDir, env })
  const place = await createPlace(first, 'orders')
  await grantCredential(first, 'orders-database', 'orders')
  const before = await startService(first.url, place)
  await until('the cache', () => {
    try {
      return readFileSync(place.cacheFile).length > 0
    } catch {
      return false
    }
  })
  assert.ok(!readFileSync(place.cacheFile).includes(canary))
  await first.kill9()
  await before.crash()

  const after = await startService(first.url, place, { port: before.port })
  assert.equal(after.house.state, 'joining')
  assert.equal(after.house.credential('orders-database').reveal()['password'], `${canary}-1`)
  await using second = await startHouse({ dataDir, env })
  await until('the registration', () => after.house.state === 'registered')
  // The same place, the next start: the one before could not say goodbye.
  assert.equal(after.house.instance?.incarnation, 2)
  await after.house.leave()
  assertSilent(second, place)
})

async function runGuide(house: House, t: TestContext): Promise<void> {
  const place = await createPlace(house, 'orders')
  const billing = await createPlace(house, 'billing')
  await using peer = await startService(house.url, billing, {}, (_request, response) =>
    response.end('3 invoices'),
  )
  assert.equal(peer.house.state, 'registered')

  const page = readFileSync(path.join(repositoryRoot, 'docs/guides/join-a-node-service.md'), 'utf8')
  const [, program = ''] = /^```ts\n([^]*?)^```$/m.exec(page) ?? []
  writeFileSync(path.join(folder, 'package.json'), '{"type":"module"}')
  symlinkSync(path.join(repositoryRoot, 'node_modules'), path.join(folder, 'node_modules'))
  writeFileSync(path.join(folder, 'orders.ts'), program)
  const port = await freePort()
  const child = spawn(process.execPath, [path.join(folder, 'orders.ts')], {
    env: {
      ...plainEnvironment(),
      PORT: String(port),
      HAUS_URL: house.url,
      HAUS_CLIENT_ID: place.key.clientId,
      HAUS_CLIENT_SECRET_FILE: place.secretFile,
      HAUS_CACHE_DIR: folder,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  t.after(() => child.kill('SIGKILL'))
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
  const ended = once(child, 'exit')
  const get = (where: string) =>
    fetch(`http://127.0.0.1:${port}${where}`).then(
      async (answer) => ({ status: answer.status, text: await answer.text() }),
      () => undefined,
    )
  await until(`the service (${said})`, async () => (await get('/health/ready'))?.status === 200)
  assert.equal((await get('/'))?.text, 'Hello: 3 invoices')
  child.kill('SIGTERM')
  assert.deepEqual(await ended, [0, null], said)
  const { body } = await house.operator.expect(200, 'GET', '/api/services/orders')
  assert.ok(!body.instances.some((instance: { port: number }) => instance.port === port))
  assert.ok(!said.includes(canary) && !said.includes(place.key.clientSecret))
}
