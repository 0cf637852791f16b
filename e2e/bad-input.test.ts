/**
 * What a caller can get wrong, against the real house: every refusal is a problem document that
 * names the field and the mend, and nothing of what was refused is written.
 */
import { after, before, test } from 'node:test'
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { createAccessTokens } from '../services/zimmer-13-api-coordinator/src/features/identity/access-tokens.ts'
import {
  deriveKey,
  Secret,
  systemRandom,
} from '../services/zimmer-13-api-coordinator/src/platform/crypto/index.ts'
import { ManualClock } from '../services/zimmer-13-api-coordinator/src/testing/manual-clock.ts'
import { sendRawOnce } from '../services/zimmer-13-api-coordinator/src/testing/raw-http.ts'
import { until } from '../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { createClient, createIdentity, type Answer, type HouseClient } from './client.ts'
import { startHouse, type House } from './harness.ts'

interface Stage {
  readonly house: House
  readonly operator: HouseClient
  /** Speaks for `orders`. */
  readonly orders: HouseClient
  readonly instance: string
  readonly credentialId: string
  readonly port: number
  readonly tokens: Readonly<Record<TokenFault, string>>
}

/** `fresh` has none: it shows that the signed ones are refused for their fault alone. */
type TokenFault =
  | 'fresh'
  | 'expired'
  | 'foreign'
  | 'otherKey'
  | 'revoked'
  | 'otherAudience'
  | 'unsigned'

type Refused = Pick<Answer, 'status' | 'headers' | 'body'>

interface Row {
  readonly ask: (stage: Stage) => Promise<Refused>
  readonly status: number
  readonly code: string
  readonly field: string
  readonly mend: RegExp
}

/** A starved machine makes the house answer 503 where it promises to, also to what goes on record. */
const busyDeadlineMs = 30_000
const nobodysId = '01933b6e-7c00-7000-8000-0000000000ff'

const invalidPath = { status: 400, code: 'invalid_path', field: 'path' }
const invalidField = (field: string) => ({ status: 400, code: 'invalid_request', field })
const invalidToken = { status: 401, field: 'header.authorization' }
const refusedAddress = { status: 403, code: 'advertise_refused', field: '/address' }
const conflict = { status: 409, code: 'version_conflict', field: '/cas' }

const rows: Readonly<Record<string, Row>> = {
  'an unknown field': {
    ask: registering({ colour: 'red' }),
    ...invalidField('/colour'),
    mend: /is not known here; these are: name, version/,
  },
  'an unknown query parameter': {
    ask: ({ operator }) => operator.get('/api/discover?service=orders&colour=red'),
    ...invalidField('query.colour'),
    mend: /is not known here; these are: service, tag/,
  },
  'a wrong type': {
    ask: registering({ version: 1 }),
    ...invalidField('/version'),
    mend: /must be a (string|text)/,
  },
  'a field that is missing': {
    ask: registering({ version: undefined }),
    ...invalidField('/version'),
    mend: /is required/,
  },
  'a name that is too long': {
    ask: registering({ name: 'a'.repeat(64) }),
    ...invalidField('/name'),
    mend: /at most 63/,
  },
  'a name that is reserved': {
    ask: registering({ name: 'gateway' }),
    ...invalidField('/name'),
    mend: /reserved.*choose another/,
  },
  'a reserved name in the path': {
    ask: ({ operator }) => operator.post('/api/services/metrics/keys'),
    ...invalidField('path.name'),
    mend: /reserved.*choose another/,
  },
  'a key that is there twice': {
    ask: registeringRaw('{"name":"a","version":"1.0.0","port":9,"name":"b"}'),
    status: 400,
    code: 'duplicate_key',
    field: '/name',
    mend: /keep one/,
  },
  'a body over the limit, by its announced length': {
    ask: ({ house }) =>
      raw(house, [
        'POST /api/services/register HTTP/1.1',
        `Host: ${new URL(house.url).host}`,
        `Authorization: Bearer ${house.operatorToken}`,
        'Content-Type: application/json',
        'Content-Length: 10000000',
        'Expect: 100-continue',
      ]),
    status: 413,
    code: 'body_too_large',
    field: '',
    mend: /at most \d+ bytes/,
  },
  'a configuration over the limit': {
    ask: ({ operator }) =>
      operator.request('PUT', '/api/services/orders/config', {
        body: { data: { note: 'x'.repeat(65_700) } },
      }),
    status: 413,
    code: 'body_too_large',
    field: '/data',
    mend: /at most \d+ bytes/,
  },
  'a body that is not JSON': {
    ask: registeringRaw('{"name": "a",'),
    status: 400,
    code: 'invalid_json',
    field: '',
    mend: /look at line 1, column 14/,
  },
  'a body that is not UTF-8': {
    ask: registeringRaw(Buffer.from('{"name":"\xff\xfe"}', 'latin1')),
    status: 400,
    code: 'invalid_encoding',
    field: '',
    mend: /must be UTF-8/,
  },
  'a path with an empty segment': {
    ask: ({ operator }) => operator.get('/api//services'),
    ...invalidPath,
    mend: /each slash of the path once/,
  },
  'a path with dots': {
    ask: ({ operator }) => operator.get('/api/services/../credentials'),
    ...invalidPath,
    mend: /Resolve/,
  },
  'a path with encoded dots': {
    ask: ({ operator }) => operator.get('/api/services/%2e%2e/credentials'),
    ...invalidPath,
    mend: /Do not percent-encode/,
  },
  'a path with an encoded slash': {
    ask: ({ operator }) => operator.get('/api/services/orders%2fkeys'),
    ...invalidPath,
    mend: /Do not percent-encode/,
  },
  'a path with an encoded NUL': {
    ask: ({ operator }) => operator.get('/api/services/orders%00'),
    ...invalidPath,
    mend: /Do not percent-encode/,
  },
  'a path with a matrix parameter': {
    ask: ({ operator }) => operator.get('/api/services;a=b/orders'),
    ...invalidPath,
    mend: /Leave `;` out/,
  },
  'a path with a slash at its end': {
    ask: ({ operator }) => operator.get('/api/services/'),
    ...invalidPath,
    mend: /Leave out the slash/,
  },
  'a path with bytes that are not UTF-8': {
    ask: ({ operator }) => operator.get('/api/services/%ff'),
    ...invalidPath,
    mend: /UTF-8/,
  },
  'a Host that is not the house': {
    ask: ({ house, operator }) =>
      operator.get('/api/services', { headers: { host: `rebound.example:${portOf(house)}` } }),
    status: 421,
    code: 'foreign_host',
    field: 'header.host',
    mend: /an address of this house/,
  },
  'no token': {
    ask: ({ house }) => house.as(undefined).get('/api/services'),
    ...invalidToken,
    code: 'unauthenticated',
    mend: /send the header "Authorization: Bearer <token>"/,
  },
  'a token that is none': {
    ask: ({ house }) => house.as('haus_op_guessed').get('/api/services'),
    ...invalidToken,
    code: 'token_invalid',
    mend: /get one at POST \/api\/auth\/token/,
  },
  'a token with alg none': {
    ask: askingWith('unsigned'),
    ...invalidToken,
    code: 'token_invalid',
    mend: /get one at POST \/api\/auth\/token/,
  },
  'a token of another house': {
    ask: askingWith('foreign'),
    ...invalidToken,
    code: 'token_invalid',
    mend: /get one at POST \/api\/auth\/token/,
  },
  'a token that another key has signed': {
    ask: askingWith('otherKey'),
    ...invalidToken,
    code: 'token_invalid',
    mend: /get one at POST \/api\/auth\/token/,
  },
  'a token that has expired': {
    ask: askingWith('expired'),
    ...invalidToken,
    code: 'token_expired',
    mend: /get a new one at POST \/api\/auth\/token/,
  },
  'a token that is sent again after its key was revoked': {
    ask: askingWith('revoked'),
    ...invalidToken,
    code: 'token_revoked',
    mend: /ask an operator for a new key/,
  },
  'a token for the gateway that is sent to the API': {
    ask: askingWith('otherAudience'),
    ...invalidToken,
    code: 'token_wrong_audience',
    mend: /"audience": "haus"/,
  },
  'a token that does not carry the permission': {
    ask: ({ orders }) => orders.get('/api/audit'),
    status: 403,
    code: 'forbidden',
    field: 'header.authorization',
    mend: /use a token that carries it/,
  },
  'registering as someone else': {
    ask: ({ orders, port }) => orders.post('/api/services/register', registration('billing', port)),
    status: 403,
    code: 'forbidden',
    field: '/name',
    mend: /is "billing", .* that of "orders": send "orders", or ask an operator/,
  },
  'the credentials of someone else': {
    ask: ({ orders }) => orders.get('/api/credentials/service/billing'),
    status: 403,
    code: 'forbidden',
    field: 'path.name',
    mend: /send "orders", or ask an operator/,
  },
  'an instance of someone else': {
    ask: ({ orders }) =>
      orders.post(`/api/services/billing/instances/${nobodysId}/heartbeat`, { incarnation: 1 }),
    status: 403,
    code: 'forbidden',
    field: 'path.name',
    mend: /send "orders", or ask an operator/,
  },
  'a service that one does not depend on': {
    ask: ({ orders }) => orders.get('/api/services/billing'),
    status: 403,
    code: 'forbidden',
    field: 'path.name',
    mend: /name it in the dependencies/,
  },
  "an address that is not one's own": {
    ask: ({ orders }) =>
      orders.post('/api/services/register', { ...registration('orders', 9), address: '10.9.8.7' }),
    ...refusedAddress,
    mend: /leave the field out, or ask the operator/,
  },
  ...Object.fromEntries(
    [
      '169.254.169.254',
      '::ffff:169.254.169.254',
      '100.100.100.200',
      'fd00:ec2::254',
      'metadata.google.internal',
      '169.254.1.1',
    ].map((address): [string, Row] => [
      `the metadata address ${address}`,
      {
        ask: registering({ address }),
        ...refusedAddress,
        mend: /give the address on which the service listens/,
      },
    ]),
  ),
  'port 0': {
    ask: registering({ port: 0 }),
    ...invalidField('/port'),
    mend: /must be at least 1/,
  },
  'port 70000': {
    ask: registering({ port: 70_000 }),
    ...invalidField('/port'),
    mend: /must be at most 65535/,
  },
  'an incarnation that is over': {
    ask: ({ orders, instance }) => orders.post(`${instance}/heartbeat`, { incarnation: 1 }),
    status: 409,
    code: 'stale_incarnation',
    field: '/incarnation',
    mend: /start \d+ of this instance has registered: stop, or register again/,
  },
  'a compare-and-set of a credential that lost': {
    ask: ({ operator, credentialId }) =>
      operator.post(`/api/credentials/${credentialId}`, { data: { password: 'y' }, cas: 7 }),
    ...conflict,
    mend: /is 7, and the current version is 1: read the credential again/,
  },
  'an alias that has keys of its own': {
    ask: ({ operator }) =>
      operator.request('PATCH', '/api/services/orders', { body: { aliases: ['payments'] } }),
    status: 409,
    code: 'name_taken',
    field: '/aliases/0',
    mend: /"payments" has 1 live key of its own.*revoke its keys/,
  },
  'a compare-and-set of a configuration that lost': {
    ask: ({ operator }) =>
      operator.request('PUT', '/api/services/orders/config', { body: { data: {}, cas: 7 } }),
    ...conflict,
    mend: /is 7, and the current version is 0: read it, merge/,
  },
  'a service that nobody knows': {
    ask: ({ operator }) => operator.get('/api/discover?service=nobody'),
    status: 404,
    code: 'service_not_found',
    field: 'query.service',
    mend: /appears with its first registration/,
  },
  'a credential that nobody knows': {
    ask: ({ operator }) => operator.get(`/api/credentials/${nobodysId}`),
    status: 404,
    code: 'credential_not_found',
    field: 'path.id',
    mend: /lists those that are/,
  },
  'an instance that nobody knows': {
    ask: ({ operator }) =>
      operator.request('PATCH', `/api/services/orders/instances/${nobodysId}`, {
        body: { weight: 1 },
      }),
    status: 404,
    code: 'instance_not_found',
    field: 'path.id',
    mend: /register it again/,
  },
  'a credential that is not granted': {
    ask: ({ orders, port }) =>
      orders.post('/api/services/register', {
        ...registration('orders', port),
        credentialsNeeded: ['billing-database'],
      }),
    status: 403,
    code: 'credential_not_granted',
    field: '/credentialsNeeded/0',
    mend: /grant it first/,
  },
}

function registration(name: string, port: number) {
  return { name, version: '1.0.0', port }
}

/** The operator's registration of a new service, with one thing wrong. */
function registering(wrong: Readonly<Record<string, unknown>>): Row['ask'] {
  return ({ operator }) =>
    operator.post('/api/services/register', {
      ...registration('half-written', 9),
      address: '127.0.0.1',
      ...wrong,
    })
}

function registeringRaw(bytes: string | Buffer): Row['ask'] {
  return ({ operator }) =>
    operator.request('POST', '/api/services/register', {
      raw: bytes,
      headers: { 'content-type': 'application/json' },
    })
}

function askingWith(fault: TokenFault): Row['ask'] {
  return ({ house, tokens }) => house.as(tokens[fault]).get('/api/discover?service=orders')
}

function portOf(house: House): number {
  return Number(new URL(house.url).port)
}

async function raw(house: House, head: readonly string[]): Promise<Refused> {
  const { status, headers, body } = await sendRawOnce(portOf(house), `${head.join('\r\n')}\r\n\r\n`)
  return { status, headers, body: JSON.parse(body) }
}

const hourAgo = () => new ManualClock(new Date(Date.now() - 3_600_000).toISOString())
const now = () => new ManualClock(new Date().toISOString())

/** Signed as a house with this root key and id signs. */
async function signedBy(rootKey: Buffer, claims: Claims, clock: ManualClock): Promise<string> {
  const houseId = claims.iss.replace('urn:haus:', '')
  const bound = deriveKey(new Secret(rootKey), 'haus/house/v1', Buffer.from(houseId))
  const seed = deriveKey(bound, 'haus/token-signature-seed/v1')
  const tokens = await createAccessTokens({ houseId, seed, clock, random: systemRandom })
  return tokens.sign({ clientId: claims.client_id, service: 'orders', audience: 'haus' })
}

function rootKeyOf(house: House): Buffer {
  const text = fs.readFileSync(path.join(house.dataDir, 'root.key'), 'utf8').trim()
  return Buffer.from(text, 'base64url')
}

interface Claims {
  readonly iss: string
  readonly client_id: string
}

function claimsOf(token: string): Claims {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'))
}

/** The same claims as a right one, by nobody's key. */
function unsignedToken(token: string): string {
  const header = Buffer.from('{"alg":"none","typ":"at+jwt"}').toString('base64url')
  return `${header}.${token.split('.')[1] ?? ''}.`
}

async function revokedToken({ operator, url }: House): Promise<string> {
  const { clientId, token } = await createIdentity(operator, 'orders')
  await createClient(url, token).expect(200, 'GET', '/api/services')
  await operator.expectSoon(204, 'DELETE', `/api/services/orders/keys/${clientId}`)
  return token
}

async function gatewayToken({ operator, as }: House): Promise<string> {
  const key = await createIdentity(operator, 'orders')
  const answer = await as(undefined).expectSoon(200, 'POST', '/api/auth/token', {
    grant_type: 'client_credentials',
    client_id: key.clientId,
    client_secret: key.clientSecret,
    audience: 'haus-gateway',
  })
  return answer.body.access_token
}

/** Health is shown before it is written: only its event tells that the index stands still. */
async function untilOnRecord(house: House, ...parts: readonly string[]): Promise<void> {
  const response = await fetch(`${house.url}/api/events?type=haus.instance.changed`, {
    headers: { authorization: `Bearer ${house.operatorToken}`, 'last-event-id': '0' },
    signal: AbortSignal.timeout(busyDeadlineMs),
  })
  let text = ''
  for await (const chunk of response.body ?? []) {
    text += Buffer.from(chunk).toString('utf8')
    if (text.split('\n').some((line) => parts.every((part) => line.includes(part)))) return
  }
  assert.fail(`the events ended before ${parts.join(' and ')}: ${text}`)
}

let stage: Stage
const closing: (() => PromiseLike<unknown>)[] = []

before(async () => {
  // Answers every probe, so that no change of health moves the index under the tests.
  const service = http.createServer((_request, response) => void response.end('up'))
  await once(service.listen(0, '127.0.0.1'), 'listening')
  closing.push(() => once(service.close(), 'close'))
  const { port } = service.address() as AddressInfo

  const house = await startHouse()
  closing.push(() => house[Symbol.asyncDispose]())
  const { operator } = house
  const { token } = await createIdentity(operator, 'orders')
  await createIdentity(operator, 'payments')
  const orders = house.as(token)
  const claims = claimsOf(token)
  const tokens = {
    expired: await signedBy(rootKeyOf(house), claims, hourAgo()),
    fresh: await signedBy(rootKeyOf(house), claims, now()),
    foreign: await signedBy(randomBytes(32), { ...claims, iss: `urn:haus:${nobodysId}` }, now()),
    otherKey: await signedBy(randomBytes(32), claims, now()),
    revoked: await revokedToken(house),
    otherAudience: await gatewayToken(house),
    unsigned: unsignedToken(token),
  }
  const credential = { name: 'orders-database', data: { password: 'x' }, services: ['orders'] }
  const { items } = await until('the credential is there', async () => {
    // A busy house may answer 503 to what it writes after all, and 409 when it is sent again.
    await operator.post('/api/credentials/create', credential)
    const { body } = await operator.expect(200, 'GET', '/api/credentials')
    return body.items.length === 1 ? body : undefined
  })
  const body = registration('orders', port)
  const first = await orders.expectSoon(201, 'POST', '/api/services/register', body)
  const again = await orders.expectSoon(201, 'POST', '/api/services/register', body)
  assert.ok(again.body.incarnation > 1)
  const instance = `/api/services/orders/instances/${first.body.instanceId}`
  stage = { house, operator, orders, instance, credentialId: items[0].id, port, tokens }
  await untilOnRecord(house, `"incarnation":${again.body.incarnation},`, '"state":"healthy"')
})

after(async () => {
  for (const close of closing.toReversed()) await close()
})

/** All that a half-written request could have changed. */
async function written({ operator }: Stage) {
  const health = await operator.expect(200, 'GET', '/api/health')
  const services = await operator.expect(200, 'GET', '/api/services')
  const credentials = await operator.expect(200, 'GET', '/api/credentials')
  return {
    index: health.body.index,
    services: services.body.items,
    credentials: credentials.body.items,
  }
}

for (const [name, { ask, status, code, field, mend }] of Object.entries(rows)) {
  test(`${name} is refused by name, and nothing is half-written`, async () => {
    const known = await written(stage)
    const {
      status: answered,
      headers,
      body,
    } = await until(
      'an answer other than that the house is busy',
      async () => {
        const answer = await ask(stage)
        return answer.status === 503 ? undefined : answer
      },
      busyDeadlineMs,
    )
    assert.equal(answered, status, JSON.stringify(body))
    assert.match(String(headers['content-type']), /^application\/problem\+json/)
    assert.equal(body.code, code)
    assert.equal(body.requestId, headers['x-request-id'])
    const [named] = body.errors ?? []
    assert.equal(named?.field, field, JSON.stringify(body))
    assert.match(`${body.detail} ${named.detail}`, mend)
    assert.ok(body.detail.length > 10 && named.detail.length > 5, JSON.stringify(body))
    assert.deepEqual(await written(stage), known)
  })
}

test('a token that is signed like the refused ones, and in order, is taken', async () => {
  const answer = await askingWith('fresh')(stage)
  assert.equal(answer.status, 200)
})

test('the audit names whom the caller posed as', async () => {
  const { body } = await stage.operator.expect(200, 'GET', '/api/audit?limit=1000')
  const records: readonly Record<string, unknown>[] = body.items
  const posed = records.find(
    ({ action, code }) => action === 'registerInstance' && code === 'forbidden',
  )
  assert.equal(posed?.['target'], 'services/billing')
  assert.equal(posed?.['actor'], 'service:orders')
  assert.equal(posed?.['outcome'], 'denied')
})

test('a dependency cycle is allowed and reported', async () => {
  const { operator, port } = stage
  const register = (name: string, dependency: string) =>
    operator.expectSoon(201, 'POST', '/api/services/register', {
      ...registration(name, port),
      address: '127.0.0.1',
      dependencies: [dependency],
    })
  const first = await register('cycle-a', 'cycle-b')
  assert.deepEqual(first.body.warnings, ['dependency "cycle-b" has never registered'])
  const second = await register('cycle-b', 'cycle-a')
  assert.deepEqual(second.body.warnings, ['dependency cycle: cycle-b -> cycle-a -> cycle-b'])
  const { body } = await operator.expect(200, 'GET', '/api/services/cycle-a')
  assert.equal(body.cycles.length, 1)
})
