import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HausError } from '@haus/contract'
import { createHttpServer } from '../../platform/http/server.ts'
import { createRoutes } from '../../platform/http/routes.ts'
import type { Caller } from '../../platform/http/caller.ts'
import { systemClock } from '../../platform/clock/clock.ts'
import { systemRandom } from '../../platform/crypto/index.ts'
import { createLog } from '../../platform/log/log.ts'
import { credentialRoutes } from './index.ts'
import {
  auditOfHouse,
  openTestHouse,
  operatorDoes,
  serviceDoes,
} from '../../testing/credentials-house.ts'

/** `Bearer operator`, or `Bearer <service>`. Tokens are not what is tested here. */
function authenticate(authorization: string | undefined): Caller {
  const name = authorization?.replace('Bearer ', '')
  if (name === undefined) throw new HausError('unauthenticated', 'Send a token.')
  return (name === 'operator' ? operatorDoes('') : serviceDoes(name, '')).caller
}

test('every operation answers over HTTP as the contract says', async () => {
  await using house = await openTestHouse('embedded')
  const log = createLog({ level: 'silent', format: 'json', destination: process.stdout })
  const server = createHttpServer({
    log,
    clock: systemClock,
    random: systemRandom,
    allowedHosts: [],
  })
  const routes = createRoutes(server, {
    authenticate,
    freshness: () => ({ index: 0, ageMs: 0 }),
    canonicalService: (name) => name,
    recordDenial: async () => {},
  })
  credentialRoutes(routes, house.credentials)
  const { url } = await server.listen({ host: '127.0.0.1', port: 0 })
  const call = async (
    method: string,
    path: string,
    options: { body?: unknown; as?: string; etag?: string } = {},
  ) => {
    const response = await fetch(`${url}/api/credentials${path}`, {
      method,
      headers: {
        authorization: `Bearer ${options.as ?? 'operator'}`,
        ...(options.body !== undefined && { 'content-type': 'application/json' }),
        ...(options.etag !== undefined && { 'if-none-match': options.etag }),
      },
      ...(options.body !== undefined && { body: JSON.stringify(options.body) }),
    })
    const text = await response.text()
    return {
      status: response.status,
      headers: response.headers,
      body: text === '' ? null : JSON.parse(text),
    }
  }
  try {
    const created = await call('POST', '/create', {
      body: { name: 'a', data: { v: '1' }, services: ['orders'] },
    })
    assert.equal(created.status, 201)
    assert.equal(created.body.version, 1)
    assert.equal(created.body.data, undefined)
    const { id } = created.body
    assert.deepEqual((await call('GET', '')).body, { items: [created.body], nextCursor: null })
    assert.deepEqual((await call('GET', `/${id}`)).body, created.body)

    const read = await call('GET', '/service/orders', { as: 'orders' })
    assert.equal(read.status, 200)
    assert.match(String(read.headers.get('content-type')), /^application\/json/)
    assert.equal(read.headers.get('cache-control'), 'no-store')
    assert.deepEqual(read.body, {
      service: 'orders',
      credentials: { a: { id, version: 1, data: { v: '1' }, expiresAt: null } },
      cacheTtlSeconds: 30,
    })
    const etag = String(read.headers.get('etag'))
    const unchanged = await call('GET', '/service/orders', { as: 'orders', etag })
    assert.deepEqual(
      [unchanged.status, unchanged.body, unchanged.headers.get('etag')],
      [304, null, etag],
    )
    assert.equal((await call('GET', '/service/orders', { as: 'billing' })).body.code, 'forbidden')
    assert.equal((await call('GET', `/${id}`, { as: 'orders' })).body.code, 'forbidden')

    const added = await call('POST', `/${id}`, { body: { data: { v: '2' }, cas: 1 } })
    assert.deepEqual([added.status, added.body.version], [201, 2])
    const lost = await call('POST', `/${id}`, { body: { data: { v: '3' }, cas: 1 } })
    assert.deepEqual([lost.status, lost.body.code], [409, 'version_conflict'])
    const updated = await call('PUT', `/${id}`, { body: { description: 'd', expiresAt: null } })
    assert.deepEqual([updated.status, updated.body.description], [200, 'd'])
    assert.equal((await call('GET', '/service/orders', { as: 'orders', etag })).status, 200)

    assert.deepEqual((await call('POST', `/${id}/reveal`)).body, {
      id,
      name: 'a',
      version: 2,
      data: { v: '2' },
    })
    assert.deepEqual((await call('POST', `/${id}/reveal?version=1`)).body.data, { v: '1' })
    assert.equal((await call('GET', '?cursor=nonsense')).body.errors[0].field, 'query.cursor')
    assert.equal(
      (await call('POST', '/create', { body: { name: 'a', data: { v: '1' } } })).body.code,
      'name_taken',
    )

    assert.equal((await call('DELETE', `/${id}`)).status, 204)
    assert.equal((await call('DELETE', `/${id}`)).status, 204)
    assert.equal((await call('GET', `/${id}`)).body.code, 'credential_not_found')
    const audit = await auditOfHouse(house.database)
    assert.ok(
      audit.some(
        ({ action, actor }) => action === 'getServiceCredentials' && actor === 'service:orders',
      ),
    )
  } finally {
    await server.close(1_000)
  }
})
