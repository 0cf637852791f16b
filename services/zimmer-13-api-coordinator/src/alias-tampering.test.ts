/** A writer in the database gives his service another's name: a whole house does not follow it. */
import assert from 'node:assert/strict'
import { readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { loadConfig } from './config/load.ts'
import { openHouse } from './features/identity/index.ts'
import type { Tables } from './features/tables.ts'
import { createHaus } from './haus.ts'
import { migrations } from './migrations/index.ts'
import { systemClock } from './platform/clock/clock.ts'
import { deriveKey, mac, systemRandom } from './platform/crypto/index.ts'
import { openDatabase, type Database } from './platform/database/index.ts'
import { cloneDataDir, openTestDatabase, quickestKind, silentLog } from './testing/databases.ts'
import { recordLog } from './testing/identity.ts'
import { untilAnswered } from './testing/until.ts'

interface Place extends AsyncDisposable {
  readonly location: { readonly url?: string; readonly dataDir: string }
}

async function openPlace(): Promise<Place> {
  if (quickestKind() === 'postgres') return openTestDatabase<Tables>('postgres', { migrations })
  const dataDir = await cloneDataDir(migrations)
  return {
    location: { dataDir },
    [Symbol.asyncDispose]: async () => rmSync(dataDir, { recursive: true }),
  }
}

/** What somebody does to the database while no house has it open. */
async function tamper(
  { location }: Place,
  attack: (database: Database<Tables>) => Promise<unknown>,
): Promise<void> {
  const onFatal = (error: Error): never => assert.fail(error)
  const database = await openDatabase<Tables>({ ...location, log: silentLog, onFatal })
  try {
    await attack(database)
  } finally {
    await database.close()
  }
}

async function openHaus({ location: { dataDir, url } }: Place) {
  const { log, records } = recordLog()
  const haus = createHaus(
    loadConfig({
      env: {
        HAUS_DATA_DIR: dataDir,
        HAUS_API_ADDR: '127.0.0.1:0',
        HAUS_GATEWAY_ADDR: '127.0.0.1:0',
        ...(url !== undefined && { HAUS_DATABASE_URL: url }),
      },
      cwd: dataDir,
    }),
    {
      log,
      version: '0.1.0',
      hostName: 'localhost',
      process: { memoryBytes: () => 0, openFiles: () => null, logLinesLost: () => 0 },
      onFatal: (error) => assert.fail(error),
    },
  )
  const { api, operatorTokenFile } = await haus.start()
  const operator = `Bearer ${readFileSync(operatorTokenFile, 'utf8').trim()}`

  const call = (method: string, route: string, body?: unknown, authorization = operator) =>
    untilAnswered(`${method} ${route}`, () => ask(method, route, body, authorization))

  async function ask(method: string, route: string, body: unknown, authorization: string) {
    const response = await fetch(`${api}${route}`, {
      method,
      headers: {
        authorization,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, body: text === '' ? null : JSON.parse(text) }
  }

  /** The Authorization of the service whose key that is. */
  async function authorizationOf(key: { clientId: string; clientSecret: string }) {
    const basic = Buffer.from(`${key.clientId}:${key.clientSecret}`).toString('base64')
    const grant = { grant_type: 'client_credentials' }
    const { body } = await call('POST', '/api/auth/token', grant, `Basic ${basic}`)
    return `Bearer ${body.access_token}`
  }

  return {
    call,
    authorizationOf,
    reported: () =>
      records
        .filter(({ level, table }) => level === 'error' && table === 'haus.service')
        .map(({ id, alias, reason }) => `${String(id)} ${String(alias)} ${String(reason)}`),
    [Symbol.asyncDispose]: () => haus.stop(5_000),
  }
}

async function register(house: Awaited<ReturnType<typeof openHaus>>, name: string) {
  const { status } = await house.call('POST', '/api/services/register', {
    name,
    version: '1.0.0',
    port: 9,
    address: '127.0.0.1',
  })
  assert.equal(status, 201)
  const { body } = await house.call('POST', `/api/services/${name}/keys`)
  return body
}

test('a row that makes a registered name an alias of another service redirects nothing and is reported', async () => {
  await using place = await openPlace()
  let orders, evil
  {
    await using house = await openHaus(place)
    orders = await register(house, 'orders')
    evil = await register(house, 'evil')
    const granted = { name: 'db', data: { password: 'first' }, services: ['orders'] }
    assert.equal((await house.call('POST', '/api/credentials/create', granted)).status, 201)
  }
  await tamper(place, ({ pool }) =>
    pool.query(`update haus.service set aliases = '{orders,later}' where name = 'evil'`),
  )
  await using house = await openHaus(place)
  assert.deepEqual(house.reported(), [
    'evil orders was not set by Haus',
    'evil later was not set by Haus',
  ])
  const next = { name: 'next', data: { password: 'second' }, services: ['orders', 'later'] }
  const made = await house.call('POST', '/api/credentials/create', next)
  assert.deepEqual(made.body.services, ['later', 'orders'])
  const key = await house.call('POST', '/api/services/orders/keys')
  assert.equal(key.body.service, 'orders')
  const read = '/api/credentials/service/orders'
  const own = await house.call('GET', read, undefined, await house.authorizationOf(orders))
  assert.deepEqual(Object.keys(own.body.credentials).toSorted(), ['db', 'next'])
  const others = await house.call('GET', read, undefined, await house.authorizationOf(evil))
  assert.equal(others.status, 403)
  const { body: system } = await house.call('GET', '/api/health/system')
  assert.equal(system.integrityFailures, 2)
  const mended = await house.call('PATCH', '/api/services/evil', { aliases: ['mine'] })
  assert.deepEqual(mended.body.aliases, ['mine'])
})

test('aliases of a house of before are followed after the first start, and none that is written afterwards', async () => {
  await using place = await openPlace()
  {
    await using house = await openHaus(place)
    await register(house, 'orders')
    await house.call('PATCH', '/api/services/orders', { aliases: ['zimmer-21'] })
  }
  const { dataDir } = place.location
  await tamper(place, async (database) => {
    const { houseId, rootKey } = await openHouse({
      database,
      dataDir,
      rootKeyFile: path.join(dataDir, 'root.key'),
      clock: systemClock,
      random: systemRandom,
      log: recordLog().log,
    })
    await database.pool.query('update haus.house set key_check = $1', [
      mac(deriveKey(rootKey, 'haus/root-key-check/v1'), 'house', houseId),
    ])
    await database.pool.query('update haus.service set aliases_mac = null')
  })
  for (const turn of ['first', 'second']) {
    await using house = await openHaus(place)
    assert.equal((await house.call('GET', '/api/services/zimmer-21')).body.name, 'orders', turn)
    assert.deepEqual(house.reported(), [])
  }
  await tamper(place, ({ pool }) => pool.query('update haus.service set aliases_mac = null'))
  await using house = await openHaus(place)
  assert.equal((await house.call('GET', '/api/services/zimmer-21')).status, 404)
  assert.equal(house.reported().length, 1)
})
