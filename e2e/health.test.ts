/** What the monitor promises, on the real house: evidence counts at once, and our own faults are nobody else's. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { HouseClient } from './client.ts'
import { until } from '../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { folderWithDatabase, startHouse, type House } from './harness.ts'

const promisedMs = 1_000

interface Zimmer extends AsyncDisposable {
  readonly port: number
  /** As `kill -9` would: the port refuses at once. */
  die(): Promise<void>
}

async function openZimmer(
  answer = (response: ServerResponse) => void response.end('up'),
): Promise<Zimmer> {
  const server: Server = createServer((_request, response) => answer(response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const die = async (): Promise<void> => {
    server.closeAllConnections()
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    await closed
  }
  return { port: (server.address() as AddressInfo).port, die, [Symbol.asyncDispose]: die }
}

async function register(house: House, port: number): Promise<string> {
  const { body } = await house.operator.expectSoon(201, 'POST', '/api/services/register', {
    name: 'orders',
    version: '1.0.0',
    address: '127.0.0.1',
    port,
    healthEndpoint: '/up',
    healthIntervalSeconds: 5,
  })
  return body.instanceId
}

const healthOf = (house: House) =>
  house.operator.expect(200, 'GET', '/api/services/orders/health').then(({ body }) => body)

const checksOf = (client: HouseClient, id: string) =>
  client.expect(200, 'GET', `/api/services/orders/instances/${id}/checks`).then(({ body }) => body)

test('one of three dies: it leaves discovery within a second of the first failed check, two serve on, and a restart remembers', async (t) => {
  const dataDir = await folderWithDatabase()
  t.after(() => rmSync(dataDir, { recursive: true, force: true }))
  await using house = await startHouse({ dataDir })
  await using doomed = await openZimmer()
  await using second = await openZimmer()
  await using third = await openZimmer()
  const id = await register(house, doomed.port)
  await register(house, second.port)
  await register(house, third.port)
  await until('all three are healthy', async () =>
    (await healthOf(house)).health === 'healthy' ? true : undefined,
  )

  const diedMs = Date.now()
  await doomed.die()
  let lastOfferedMs = 0
  await until('it is not offered any more', async () => {
    const askedMs = Date.now()
    const { body } = await house.operator.expect(200, 'GET', '/api/discover?service=orders')
    const offered = body.instances.some((instance: { id: string }) => instance.id === id)
    if (!offered) return true
    lastOfferedMs = askedMs
    return undefined
  })
  const { checks } = await checksOf(house.operator, id)
  const firstFailure = checks.findLast(
    ({ ok, at }: { ok: boolean; at: string }) => !ok && Date.parse(at) >= diedMs,
  )
  assert.equal(firstFailure.reason, 'connection refused', JSON.stringify(checks))
  const lateMs = lastOfferedMs - Date.parse(firstFailure.at)
  assert(lateMs <= promisedMs, `it was still offered ${lateMs} ms after its first failed check`)

  await until('it is offline, and two of three serve', async () => {
    const { health, instances } = await healthOf(house)
    const states = instances.map(({ state }: { state: string }) => state)
    const { body } = await house.operator.expect(200, 'GET', '/api/services')
    const [{ usable }] = body.items
    return health === 'degraded' && states.includes('offline') && usable === 2 ? true : undefined
  })
  const before = await checksOf(house.operator, id)
  await house.stop()

  await using again = await startHouse({ dataDir })
  // On a busy machine the belief may not have been written down: then it is found out again.
  const after = await until('it is offline still, or again', async () => {
    const found = await checksOf(again.operator, id)
    return found.state === 'offline' ? found : undefined
  })
  assert.equal(after.healthIntervalSeconds, 5)
  const remembered = after.checks.map(({ at }: { at: string }) => at)
  for (const { at } of before.checks) assert(remembered.includes(at), `${at} is remembered`)
  assert.equal(after.lastFailure.reason, 'connection refused')
})

test('a house that was stopped for longer than a check may take holds it against nobody', async () => {
  await using house = await startHouse()
  let held: ServerResponse | undefined
  let holding = false
  await using slow = await openZimmer((response) => {
    if (holding) held = response
    else response.end('up')
  })
  const id = await register(house, slow.port)
  await until('its registration is written down', async () =>
    (await healthOf(house)).health === 'healthy' ? true : undefined,
  )
  holding = true
  const answer = await until('it is being checked', () => Promise.resolve(held))
  house.signal('SIGSTOP')
  // Longer than the 5 s that an answer may take, from before the process stopped.
  await delay(6_000)
  holding = false
  answer.end('up')
  await delay(100)
  house.signal('SIGCONT')
  const { checks } = await until('the check is over', async () => {
    const found = await checksOf(house.operator, id)
    return found.checks[0].latencyMs > 5_000 ? found : undefined
  })
  assert(
    checks.every(({ ok }: { ok: boolean }) => ok),
    JSON.stringify(checks),
  )
  assert.equal((await healthOf(house)).health, 'healthy')
})
