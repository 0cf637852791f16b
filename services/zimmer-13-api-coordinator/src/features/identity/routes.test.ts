import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { after, test } from 'node:test'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { systemRandom } from '../../platform/crypto/index.ts'
import { createHttpServer, createRoutes } from '../../platform/http/index.ts'
import { needsDatabase } from '../../testing/databases.ts'
import { openTestIdentity } from '../../testing/identity.ts'
import { identityRoutes } from './index.ts'

const house = await openTestIdentity(needsDatabase('postgres').skip ? 'embedded' : 'postgres')
const { identity, clock } = house
const http = createHttpServer({
  log: house.log,
  clock,
  random: systemRandom,
  allowedHosts: [],
})
identityRoutes(
  createRoutes(http, {
    authenticate: (authorization, { source }) => identity.authenticate(authorization, source),
    freshness: () => ({ index: 0, ageMs: 0 }),
    canonicalService: (name) => name,
    recordDenial: async () => {},
  }),
  identity,
)
const { url } = await http.listen({ host: '127.0.0.1', port: 0 })
after(async () => {
  await http.close(1_000)
  await house[Symbol.asyncDispose]()
})

const operator = {
  authorization: `Bearer ${fs
    .readFileSync(path.join(house.database.location.dataDir, 'operator.token'), 'utf8')
    .trim()}`,
}

interface Got {
  readonly status: number
  readonly headers: Headers
  readonly body: Record<string, unknown>
}

async function send(method: string, target: string, init: RequestInit = {}): Promise<Got> {
  const answer = await fetch(`${url}${target}`, { method, ...init })
  const text = await answer.text()
  const body: unknown = text === '' ? {} : JSON.parse(text)
  return { status: answer.status, headers: answer.headers, body: body as Record<string, unknown> }
}

async function makeKey(): Promise<{ clientId: string; clientSecret: string }> {
  const { status, body } = await send('POST', '/api/services/orders/keys', { headers: operator })
  assert.equal(status, 201)
  return { clientId: String(body['clientId']), clientSecret: String(body['clientSecret']) }
}

const form = { 'content-type': 'application/x-www-form-urlencoded' }
const json = { 'content-type': 'application/json' }
const grant = { grant_type: 'client_credentials' }

test('a key trades for a token as form, as JSON and with HTTP Basic', async () => {
  const { clientId, clientSecret } = await makeKey()
  const named = { ...grant, client_id: clientId, client_secret: clientSecret }
  const basic = `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`
  const requests: RequestInit[] = [
    { headers: form, body: new URLSearchParams(named).toString() },
    { headers: json, body: JSON.stringify(named) },
    { headers: { ...form, authorization: basic }, body: new URLSearchParams(grant).toString() },
    { headers: { ...json, authorization: basic }, body: JSON.stringify(grant) },
  ]
  for (const request of requests) {
    const { status, headers, body } = await send('POST', '/api/auth/token', request)
    assert.equal(status, 200, JSON.stringify(body))
    assert.equal(headers.get('cache-control'), 'no-store')
    assert.equal(headers.get('pragma'), 'no-cache')
    assert.deepEqual(Object.keys(body).toSorted(), ['access_token', 'expires_in', 'token_type'])
    assert.equal(body['token_type'], 'Bearer')
    assert.equal(body['expires_in'], 900)
    const authorization = `Bearer ${String(body['access_token'])}`
    const denied = await send('GET', '/api/services/orders/keys', { headers: { authorization } })
    assert.equal(denied.status, 403, 'the token is known, and keys are the operator’s')
  }
})

test('a token for the gateway verifies against the JWKS and opens nothing here', async () => {
  const { clientId, clientSecret } = await makeKey()
  const { body } = await send('POST', '/api/auth/token', {
    headers: json,
    body: JSON.stringify({
      ...grant,
      client_id: clientId,
      client_secret: clientSecret,
      audience: 'haus-gateway',
    }),
  })
  const token = String(body['access_token'])
  const jwks = await send('GET', '/.well-known/jwks.json')
  assert.match(jwks.headers.get('cache-control') ?? '', /max-age=3600/)
  const keys = identity.jwks()
  assert.deepEqual(jwks.body, keys)
  await jwtVerify(token, createLocalJWKSet({ keys: keys.keys.map((key) => ({ ...key })) }), {
    audience: 'haus-gateway',
    currentDate: clock.now(),
  })
  const refused = await send('GET', '/api/services/orders/keys', {
    headers: { authorization: `Bearer ${token}` },
  })
  assert.equal(refused.status, 401)
  assert.equal(refused.body['code'], 'token_wrong_audience')
})

test('refusals of the token endpoint have the shape of RFC 6749', async () => {
  const { clientId } = await makeKey()
  const wrong = { ...grant, client_id: clientId, client_secret: 'hsk_wrong' }
  const cases: [RequestInit, number, string][] = [
    [{ headers: json, body: JSON.stringify(wrong) }, 401, 'invalid_client'],
    [{ headers: json, body: JSON.stringify(grant) }, 401, 'invalid_client'],
    [
      { headers: json, body: JSON.stringify({ ...wrong, grant_type: 'password' }) },
      400,
      'unsupported_grant_type',
    ],
    [{ headers: json, body: JSON.stringify({ ...wrong, audience: 'x' }) }, 400, 'invalid_request'],
    [
      { headers: form, body: 'grant_type=client_credentials&client_id=a&client_id=b' },
      400,
      'invalid_request',
    ],
    [
      { headers: { ...json, authorization: 'Bearer abc' }, body: JSON.stringify(grant) },
      400,
      'invalid_request',
    ],
  ]
  for (const [request, status, error] of cases) {
    const got = await send('POST', '/api/auth/token', request)
    assert.equal(got.status, status, JSON.stringify(got.body))
    assert.equal(got.body['error'], error)
    assert.equal(typeof got.body['error_description'], 'string')
    if (status === 401) assert.match(got.headers.get('www-authenticate') ?? '', /^Basic /)
  }
})

test('too many wrong secrets get 429 with Retry-After, and the right one still gets in', async () => {
  const { clientId, clientSecret } = await makeKey()
  const attempt = (secret: string) =>
    send('POST', '/api/auth/token', {
      headers: json,
      body: JSON.stringify({ ...grant, client_id: clientId, client_secret: secret }),
    })
  const statuses: number[] = []
  for (let n = 0; n < 12; n += 1) statuses.push((await attempt(`hsk_${n}`)).status)
  assert.deepEqual([statuses[0], statuses.at(-1)], [401, 429])
  const limited = await attempt('hsk_x')
  assert.ok(Number(limited.headers.get('retry-after')) >= 1)
  assert.equal((await attempt(clientSecret)).status, 200)
})

test('keys are listed in pages without their secrets, and revoked with 204', async () => {
  const { clientId } = await makeKey()
  const found: unknown[] = []
  let cursor: string | undefined
  do {
    const query = cursor === undefined ? '?limit=2' : `?limit=2&cursor=${cursor}`
    const page = await send('GET', `/api/services/orders/keys${query}`, { headers: operator })
    assert.equal(page.status, 200)
    assert.ok(!JSON.stringify(page.body).includes('hsk_'))
    const { items, nextCursor } = page.body
    assert.ok(Array.isArray(items) && items.length <= 2)
    found.push(...(items as { clientId: string }[]).map((item) => item.clientId))
    cursor = typeof nextCursor === 'string' ? nextCursor : undefined
  } while (cursor !== undefined)
  assert.ok(found.includes(clientId))
  assert.equal(new Set(found).size, found.length)

  const target = `/api/services/orders/keys/${clientId}`
  assert.equal((await send('DELETE', target, { headers: operator })).status, 204)
  assert.equal((await send('DELETE', target, { headers: operator })).status, 204)
  const foreign = await send('DELETE', `/api/services/billing/keys/${clientId}`, {
    headers: operator,
  })
  assert.equal(foreign.body['code'], 'key_not_found')
  const cursorOfAnother = await send('GET', '/api/services/orders/keys?cursor=bm8', {
    headers: operator,
  })
  assert.equal(cursorOfAnother.body['code'], 'invalid_request')
})
