import assert from 'node:assert/strict'
import net from 'node:net'
import { test } from 'node:test'
import { migrations } from '../../migrations/index.ts'
import { systemClock } from '../../platform/clock/clock.ts'
import { systemRandom } from '../../platform/crypto/random.ts'
import type { DatabaseKind } from '../../platform/database/index.ts'
import { createHttpServer, createRoutes } from '../../platform/http/index.ts'
import { createLedger } from '../../platform/ledger/index.ts'
import type { Log } from '../../platform/log/log.ts'
import {
  databaseKinds,
  needsDatabase,
  openTestDatabase,
  silentLog,
  type TestDatabase,
} from '../../testing/databases.ts'
import { createTestView } from '../../testing/registry-view.ts'
import { until } from '../../testing/until.ts'
import type { Tables } from '../tables.ts'
import { createRegistry, registryRoutes } from './index.ts'

const log = silentLog as Log

async function openApi(databaseKind: DatabaseKind = 'embedded') {
  const database = await openTestDatabase<Tables>(databaseKind, { migrations })
  const view = createTestView()
  const ledger = createLedger<Tables>({
    database,
    clock: systemClock,
    log,
    projections: [view],
    writeTimeoutMs: 30_000,
  })
  let port = 0
  const registry = createRegistry({
    database,
    ledger,
    view,
    credentials: {
      versionsOf: () => ({}),
      grantedTo: () =>
        Promise.resolve({
          credentials: {},
          auditDetail: { credentials: {} },
          isCurrent: () => true,
        }),
    },
    holdingsOf: () => ({ liveKeys: 0, grants: 0 }),
    clock: systemClock,
    random: systemRandom,
    log,
    advertiseAllow: [],
    ownListeners: () => [{ address: '127.0.0.1', port }],
  })
  await ledger.start()
  await registry.start()
  const server = createHttpServer({
    log,
    clock: systemClock,
    random: systemRandom,
    allowedHosts: [],
  })
  const routes = createRoutes(server, {
    // The token is the service's name; identity has its own tests.
    authenticate(authorization) {
      const service = authorization?.replace('Bearer ', '') ?? null
      const kind = service === null ? 'operator' : 'service'
      return {
        kind,
        actor: service ?? 'operator',
        service,
        expiresAtMonotonicMs: null,
        revoked: null,
      }
    },
    freshness: () => registry.freshness(),
    canonicalService: (name) => view.canonicalService(name),
    recordDenial: () => Promise.resolve(),
  })
  registryRoutes(routes, registry)
  const opened = await server.listen({ host: '127.0.0.1', port: 0 })
  port = opened.port

  async function call(
    method: string,
    path: string,
    options: { body?: unknown; as?: string; headers?: Record<string, string> } = {},
  ) {
    const { body, as, headers = {} } = options
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      headers: {
        ...headers,
        ...(as === undefined ? {} : { authorization: `Bearer ${as}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    return {
      status: response.status,
      headers: response.headers,
      body: text === '' ? null : JSON.parse(text),
    }
  }
  return {
    call,
    port,
    database,
    async [Symbol.asyncDispose]() {
      await server.close(1_000)
      await registry.stop()
      await ledger.stop(1_000)
      await database.cleanup()
    },
  }
}

test('the registry over HTTP: every answer has the contract’s status, headers and form', async () => {
  await using zimmer = await listening()
  await using api = await openApi()
  const { call } = api
  const registration = {
    name: 'orders',
    version: '1.4.0',
    port: zimmer.port,
    tags: ['http'],
    endpoints: [{ path: '/orders', methods: ['GET', 'POST'] }],
  }
  const registered = await call('POST', '/api/services/register', {
    as: 'orders',
    body: registration,
  })
  assert.equal(registered.status, 201)
  const { instanceId } = registered.body
  assert.deepEqual(registered.body, {
    service: 'orders',
    instanceId,
    incarnation: 1,
    heartbeatIntervalSeconds: 10,
    leaseTtlSeconds: 30,
    credentials: {},
    config: { version: 0, data: {} },
    advertise: { state: 'reachable', address: '127.0.0.1', port: zimmer.port },
    warnings: [],
  })
  const instance = `/api/services/orders/instances/${instanceId}`
  const beat = await call('POST', `${instance}/heartbeat`, {
    as: 'orders',
    body: { incarnation: 1, load: 0.2, status: 'healthy', configVersion: 0 },
  })
  assert.deepEqual(beat.body, {
    state: 'healthy',
    heartbeatIntervalSeconds: 10,
    leaseTtlSeconds: 30,
    changed: { credentials: {}, configVersion: null },
  })

  const found = await call('GET', '/api/discover?service=orders', { as: 'stranger' })
  assert.equal(found.status, 200)
  assert.match(found.headers.get('haus-index') ?? '', /^\d+$/)
  assert.equal(found.headers.get('haus-age-ms'), '0')
  assert.equal(found.headers.get('content-type'), 'application/json')
  assert.equal(found.body.url, `http://127.0.0.1:${zimmer.port}`)
  assert.equal((await call('GET', '/api/discover?service=nobody')).body.code, 'service_not_found')

  const put = { body: { data: { pageSize: 50 }, cas: 0 } }
  assert.deepEqual((await call('PUT', '/api/services/orders/config', put)).body, {
    version: 1,
    data: { pageSize: 50 },
  })
  const config = await call('GET', '/api/services/orders/config', { as: 'orders' })
  assert.equal(config.headers.get('etag'), '"1"')
  for (const tag of ['"1"', 'W/"1"', '"0", "1"', '*']) {
    const again = await call('GET', '/api/services/orders/config', {
      as: 'orders',
      headers: { 'if-none-match': tag },
    })
    assert.deepEqual([again.status, again.body], [304, null], tag)
  }
  assert.equal(
    (await call('PUT', '/api/services/orders/config', put)).body.code,
    'version_conflict',
  )

  const patched = await call('PATCH', instance, { body: { weight: 50, draining: true } })
  assert.deepEqual([patched.body.weight, patched.body.state], [50, 'draining'])
  assert.equal('revision' in patched.body, false, 'only what the contract declares gets out')
  const aliased = await call('PATCH', '/api/services/orders', { body: { aliases: ['zimmer-21'] } })
  assert.deepEqual(aliased.body.aliases, ['zimmer-21'])
  assert.equal((await call('GET', '/api/services/zimmer-21', { as: 'orders' })).body.name, 'orders')
  const list = await call('GET', '/api/services?limit=1')
  assert.deepEqual([list.body.items.length, list.body.nextCursor], [1, null])

  assert.equal((await call('DELETE', `${instance}?incarnation=1`, { as: 'orders' })).status, 204)
  assert.equal((await call('DELETE', instance, { as: 'orders' })).status, 204)
  assert.equal((await call('DELETE', '/api/services/orders')).status, 204)
  const none = await call('GET', '/api/discover?service=orders')
  assert.deepEqual([none.status, none.body.address], [200, null])
})

test('registering Haus itself, another’s address or a bad port is refused with the field', async () => {
  await using api = await openApi()
  const refused = async (more: object, as?: string) => {
    const body = { name: 'orders', version: '1.0.0', port: 3000, ...more }
    const options = as === undefined ? { body } : { body, as }
    const answer = await api.call('POST', '/api/services/register', options)
    return [
      answer.status,
      answer.body.code,
      answer.body.fields?.[0]?.field ?? answer.body.errors?.[0]?.field,
    ]
  }
  const address = [403, 'advertise_refused', '/address']
  assert.deepEqual(await refused({ port: api.port }), address)
  assert.deepEqual(await refused({ address: '10.0.0.9' }, 'orders'), address)
  assert.deepEqual(await refused({ address: '169.254.169.254' }), address)
  assert.deepEqual(await refused({ port: 0 }), [400, 'invalid_request', '/port'])
  assert.deepEqual(await refused({ port: 70_000 }), [400, 'invalid_request', '/port'])
  assert.deepEqual(await refused({ name: 'gateway' }), [400, 'invalid_request', '/name'])
})

async function listening() {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  return {
    port,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
      }),
  }
}

interface SlowQuery {
  readonly running: () => boolean
  readonly end: () => Promise<void>
}

/** PostgreSQL's own takes ten minutes unless it is ended; the embedded one cannot be ended and takes seconds. */
async function startSlowQuery({ kind, pool }: TestDatabase<Tables>): Promise<SlowQuery> {
  let running = true
  const begin = (sql: string): Promise<void> =>
    pool.query(sql).then(
      () => void (running = false),
      () => void (running = false),
    )
  if (kind === 'embedded') {
    const done = begin('select count(*) from generate_series(1, 1000000)')
    return { running: () => running, end: () => done }
  }
  const done = begin('/* slow */ select pg_sleep(600)')
  const find = (action: string): Promise<{ rows: unknown[] }> =>
    pool.query(`select ${action} from pg_stat_activity
      where query like '/* slow */%' and state = 'active' and datname = current_database()`)
  await until('the database works on it', async () => (await find('pid')).rows.length > 0)
  return {
    running: () => running,
    async end() {
      await find('pg_cancel_backend(pid)')
      await done
    },
  }
}

for (const kind of databaseKinds) {
  test(
    `${kind}: a slow query does not stall reads from the view`,
    needsDatabase(kind),
    async (t) => {
      await using api = await openApi(kind)
      const body = { name: 'orders', version: '1.4.0', port: 9 }
      assert.equal((await api.call('POST', '/api/services/register', { body })).status, 201)
      const discover = async (): Promise<number> => {
        const startedMs = performance.now()
        const { status } = await api.call('GET', '/api/discover?service=orders')
        assert.equal(status, 200)
        return performance.now() - startedMs
      }
      const slowest = async (): Promise<string> => {
        let slowestMs = 0
        for (let n = 0; n < 20; n++) slowestMs = Math.max(slowestMs, await discover())
        return slowestMs.toFixed(1)
      }
      const idle = await slowest()
      const query = await startSlowQuery(api.database)
      const during = await slowest()
      // What waited for the database would come after it.
      assert.ok(query.running(), 'the query has ended before the reads were answered')
      await query.end()
      t.diagnostic(`slowest of 20: ${idle} ms idle, ${during} ms beside a slow query`)
    },
  )
}
