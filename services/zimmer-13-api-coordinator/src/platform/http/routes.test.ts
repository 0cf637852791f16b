import { test } from 'node:test'
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { HausError, registerInstance } from '@haus/contract'
import { startHttpServer } from '../../testing/http-server.ts'
import type { TestHttpServer } from '../../testing/http-server.ts'
import { createRoutes } from './routes.ts'

async function withServer(
  run: (server: TestHttpServer) => Promise<void>,
  options: Parameters<typeof startHttpServer>[0] = {},
): Promise<void> {
  const server = await startHttpServer(options)
  try {
    await run(server)
  } finally {
    await server.close()
  }
}

interface Ask {
  readonly as?: string
  readonly method?: string
  readonly json?: unknown
  readonly text?: string
  readonly headers?: Record<string, string>
}

/** What the tests look at in a refusal. */
interface Refused {
  readonly code: string
  readonly detail: string
  readonly requestId: string
  readonly error: string
  readonly errors?: readonly { field: string; detail: string }[]
}

async function ask(
  server: TestHttpServer,
  path: string,
  { as, method, json, text, headers }: Ask = {},
) {
  const body = json === undefined ? text : JSON.stringify(json)
  const response = await fetch(server.url + path, {
    method: method ?? (body === undefined ? 'GET' : 'POST'),
    headers: {
      ...(as !== undefined && { authorization: `Bearer ${as}-token` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body !== undefined && { body }),
  })
  const answer = await response.text()
  const parsed = (answer.startsWith('{') ? JSON.parse(answer) : {}) as Refused
  return { status: response.status, headers: response.headers, text: answer, json: parsed }
}

const registration = { name: 'orders', version: '1.0.0', port: 3000 }

test('a service acts for itself, by name or alias, and for nobody else', async () => {
  await withServer(async (server) => {
    const own = await ask(server, '/api/services/register', { as: 'orders', json: registration })
    assert.equal(own.status, 201)
    const alias = await ask(server, '/api/credentials/service/zimmer-21', { as: 'orders' })
    assert.equal(alias.status, 200)
    const byAlias = { ...registration, name: 'zimmer-21' }
    assert.equal(
      (await ask(server, '/api/services/register', { as: 'orders', json: byAlias })).status,
      201,
    )
    assert.equal(server.denials.length, 0)
    const reached = server.calls.length

    const other = { ...registration, name: 'billing' }
    const refused = await ask(server, '/api/services/register', { as: 'orders', json: other })
    assert.equal(refused.status, 403)
    assert.equal(refused.json.code, 'forbidden')
    const detail =
      'is "billing", and this token is that of "orders": send "orders", or ask an operator'
    assert.deepEqual(refused.json.errors, [{ field: '/name', detail }])
    const impossible = { ...registration, name: 'B'.repeat(5_000) }
    const misnamed = await ask(server, '/api/services/register', { as: 'orders', json: impossible })
    assert.equal(misnamed.status, 400, 'a name that nobody can have is not put on record')
    const foreign = await ask(server, '/api/credentials/service/billing', { as: 'orders' })
    assert.equal(foreign.status, 403)
    assert.deepEqual(foreign.json.errors, [{ field: 'path.name', detail }])
    const operators = await ask(server, '/api/audit', { as: 'orders' })
    assert.equal(operators.status, 403)

    assert.equal(server.calls.length, reached, 'no handler ran')
    assert.deepEqual(
      server.denials.map(({ context, target, code }) => [
        context.operation,
        context.caller.actor,
        context.source,
        target,
        code,
      ]),
      [
        ['registerInstance', 'service:orders', '127.0.0.1', 'services/billing', 'forbidden'],
        [
          'getServiceCredentials',
          'service:orders',
          '127.0.0.1',
          'credentials/service/billing',
          'forbidden',
        ],
        ['listAudit', 'service:orders', '127.0.0.1', 'audit', 'forbidden'],
      ],
    )
    assert.equal(refused.json.requestId, server.denials[0]?.context.requestId)
  })
})

test('who may not is told so before the rest of the body is judged', async () => {
  await withServer(async (server) => {
    const body = { name: 'billing', prot: 1 }
    const answer = await ask(server, '/api/services/register', { as: 'orders', json: body })
    assert.equal(answer.status, 403)
    const nameless = await ask(server, '/api/services/register', {
      as: 'orders',
      json: { name: 7 },
    })
    assert.equal(nameless.status, 400)
  })
})

test('a scrape token reads metrics and nothing else', async () => {
  await withServer(
    async (server) => {
      assert.equal((await ask(server, '/metrics', { as: 'scrape' })).status, 200)
      assert.equal(
        (await ask(server, '/api/discover?service=orders', { as: 'scrape' })).status,
        403,
      )
      assert.equal((await ask(server, '/api/services', { as: 'scrape' })).status, 403)
      assert.equal((await ask(server, '/metrics', { as: 'orders' })).status, 403)
    },
    { handlers: { getMetrics: () => ({ status: 200, raw: Buffer.from('up 1\n') }) } },
  )
})

test('a refusal that cannot be recorded is not given', async () => {
  await withServer(
    async (server) => {
      const answer = await ask(server, '/api/audit', { as: 'orders' })
      assert.equal(answer.status, 503)
      assert.equal(answer.json.code, 'writes_unavailable')
      assert.equal(answer.headers.get('retry-after'), '1')
    },
    { recordDenial: () => Promise.reject(new Error('the ledger is away')) },
  )
})

test('a caller without a good token is challenged; public operations ask nobody', async () => {
  await withServer(async (server) => {
    const none = await ask(server, '/api/services')
    assert.equal(none.status, 401)
    assert.equal(none.headers.get('www-authenticate'), 'Bearer realm="haus"')
    const wrong = await ask(server, '/api/services', { as: 'stolen' })
    assert.equal(wrong.json.code, 'token_invalid')
    assert.equal(
      wrong.headers.get('www-authenticate'),
      'Bearer realm="haus", error="invalid_token"',
    )
    assert.equal((await ask(server, '/health/live', { as: 'stolen' })).status, 200)
  })
})

test('an answer shows what its schema declares and nothing more', async () => {
  await withServer(
    async (server) => {
      const answer = await ask(server, '/health/live')
      assert.equal(answer.text, '{"status":"alive"}')
      assert.equal(answer.headers.get('content-type'), 'application/json')
      const undeclared = await ask(server, '/health/ready')
      assert.equal(undeclared.status, 500)
      assert.doesNotMatch(undeclared.text, /canary/)
    },
    {
      handlers: {
        getLive: () => ({ status: 200, body: { status: 'alive', secret: 'canary' } }),
        getReady: () => ({ status: 202, body: { secret: 'canary' } }),
      },
    },
  )
})

test('an unexpected error is logged with its cause and shown without it', async () => {
  const cause = new Error('inner canary-cause')
  await withServer(
    async (server) => {
      for (const path of ['/health/live', '/health/ready']) {
        const answer = await ask(server, path)
        assert.equal(answer.status, 500)
        assert.equal(answer.json.code, 'internal_error')
        assert.doesNotMatch(answer.text, /canary/)
        assert.ok(server.log().includes(answer.json.requestId))
      }
      assert.match(server.log(), /canary-outer/)
      assert.match(server.log(), /canary-cause/)
      assert.doesNotMatch(server.log(), /canary-row/)
    },
    {
      handlers: {
        getLive: () => {
          throw Object.assign(new Error('canary-outer', { cause }), { row: 'canary-row' })
        },
        getReady: async () => {
          throw Object.assign(new Error('canary-outer', { cause }), { row: 'canary-row' })
        },
      },
    },
  )
})

test('a problem names type, status, path, code, request and fields', async () => {
  await withServer(async (server) => {
    const answer = await ask(server, '/api/discover?service=orders&limt=1', { as: 'orders' })
    assert.equal(answer.headers.get('content-type'), 'application/problem+json')
    assert.deepEqual(answer.json, {
      type: 'urn:haus:error:invalid_request',
      title: 'The request does not fit the contract',
      status: 400,
      detail: 'query.limt is not known here; these are: service, tag, zone, version.',
      instance: '/api/discover',
      code: 'invalid_request',
      requestId: answer.headers.get('x-request-id'),
      errors: [
        {
          field: 'query.limt',
          detail: 'is not known here; these are: service, tag, zone, version',
        },
      ],
    })
    assert.equal(answer.headers.get('cache-control'), 'no-store')
    assert.equal(answer.headers.get('x-content-type-options'), 'nosniff')
  })
})

test('a request id is kept when it is well formed and made otherwise', async () => {
  await withServer(async (server) => {
    const idOf = async (given: string) =>
      (await ask(server, '/health/live', { headers: { 'x-request-id': given } })).headers.get(
        'x-request-id',
      )
    assert.equal(await idOf('trace-0123.abc'), 'trace-0123.abc')
    const made = new Set(
      await Promise.all(['short', 'has space', '"><script>', 'x'.repeat(65)].map(idOf)),
    )
    assert.equal(made.size, 4)
    for (const id of made) assert.match(id ?? '', /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
  })
})

test('unknown routes and methods are told apart, before any token is asked for', async () => {
  await withServer(async (server) => {
    assert.equal((await ask(server, '/api/nothing')).json.code, 'route_not_found')
    const method = await ask(server, '/api/services/orders', { method: 'PUT' })
    assert.equal(method.status, 405)
    assert.equal(method.headers.get('allow'), 'DELETE, GET, HEAD, PATCH')
    assert.equal((await ask(server, '/api/services', { method: 'OPTIONS' })).status, 405)
    assert.equal(
      (await ask(server, '/api/services/', { as: 'operator' })).json.code,
      'invalid_path',
    )
  })
})

test('HEAD is GET without the body', async () => {
  await withServer(async (server) => {
    const head = await ask(server, '/health/live', { method: 'HEAD' })
    assert.equal(head.status, 200)
    assert.equal(head.headers.get('content-length'), '18')
    assert.equal(head.text, '')
  })
})

test('bodies: JSON in UTF-8 where one is needed, an empty object at most where none is', async () => {
  await withServer(async (server) => {
    const register = (text: string, type: string) =>
      ask(server, '/api/services/register', {
        as: 'operator',
        text,
        headers: { 'content-type': type },
      })
    const text = JSON.stringify(registration)
    assert.equal((await register(text, 'application/json; charset=UTF-8')).status, 201)
    assert.equal((await register(text, 'application/json; charset=latin1')).status, 415)
    assert.equal((await register(text, 'text/plain')).status, 415)
    assert.equal((await register(text, 'application/x-www-form-urlencoded')).status, 415)
    assert.equal((await register(text, 'application/jsonp')).status, 415)
    assert.equal((await register('', 'application/json')).json.code, 'invalid_request')
    assert.equal((await register('{', 'application/json')).json.code, 'invalid_json')
    assert.equal(
      (await register('{"name":"a","name":"b"}', 'application/json')).json.code,
      'duplicate_key',
    )
    const large = await register(JSON.stringify({ name: 'x'.repeat(300_000) }), 'application/json')
    assert.equal(large.status, 413)
    assert.match(large.json.detail, /262144 bytes/)

    const key = (body: Ask) =>
      ask(server, '/api/services/orders/keys', { as: 'operator', method: 'POST', ...body })
    assert.equal((await key({})).status, 201)
    assert.equal((await key({ text: '{}' })).status, 201)
    assert.equal((await key({ json: { admin: true } })).status, 400)
  })
})

test('the token endpoint takes a form and refuses in the shape of RFC 6749', async () => {
  await withServer(
    async (server) => {
      const token = (text: string, type = 'application/x-www-form-urlencoded') =>
        ask(server, '/api/auth/token', { text, headers: { 'content-type': type } })
      const good = 'grant_type=client_credentials&client_id=a&client_secret=b%2Bc'
      assert.equal((await token(good)).status, 401)
      assert.deepEqual(
        { ...(server.calls[0]?.call.body as object) },
        { grant_type: 'client_credentials', client_id: 'a', client_secret: 'b+c' },
      )
      const refused = await token(good)
      assert.deepEqual(refused.json, {
        error: 'invalid_client',
        error_description: 'The client id or secret is wrong.',
      })
      assert.equal(refused.headers.get('www-authenticate'), 'Basic realm="haus"')
      assert.equal(refused.headers.get('cache-control'), 'no-store')
      assert.equal((await token('grant_type=password')).json.error, 'unsupported_grant_type')
      assert.equal((await token('client_id=a')).json.error, 'invalid_request')
      for (const name of ['client_id', 'grant_type']) {
        const twice = await token(`${good}&${name}=b`)
        assert.deepEqual([twice.status, twice.json.error], [400, 'invalid_request'], name)
      }
      assert.equal((await token('x'.repeat(5000))).status, 413)
    },
    {
      handlers: {
        issueToken: () => {
          throw new HausError('invalid_client', 'The client id or secret is wrong.')
        },
      },
    },
  )
})

test('a stream flows, and its source ends with its reader', async () => {
  const sources: Readable[] = []
  await withServer(
    async (server) => {
      const abort = new AbortController()
      const response = await fetch(`${server.url}/api/events`, {
        headers: { authorization: 'Bearer operator-token' },
        signal: abort.signal,
      })
      assert.equal(response.headers.get('content-type'), 'text/event-stream')
      const reader = response.body?.getReader()
      assert.ok(reader)
      const first = await reader.read()
      assert.equal(Buffer.from(first.value ?? []).toString(), 'data: 1\n\n')
      assert.equal(server.http.exchanges.openStreams(), 1)
      assert.deepEqual(server.done, [])
      const [source] = sources
      assert.ok(source)
      const closed = new Promise((resolve) => source.once('close', resolve))
      abort.abort()
      await closed
      assert.equal(server.http.exchanges.openStreams(), 0)
      assert.deepEqual(server.done, [{ operation: 'streamEvents', method: 'GET', status: 200 }])
    },
    {
      handlers: {
        streamEvents: () => {
          const stream = new Readable({ read() {} })
          stream.push('data: 1\n\n')
          sources.push(stream)
          return { status: 200, stream }
        },
      },
    },
  )
})

test('every answer is counted once, under its operation', async () => {
  await withServer(async (server) => {
    await ask(server, '/health/live')
    await ask(server, '/api/services')
    await ask(server, '/nowhere')
    await ask(server, '/api//x')
    assert.deepEqual(server.done, [
      { operation: 'getLive', method: 'GET', status: 200 },
      { operation: 'listServices', method: 'GET', status: 401 },
      { operation: 'none', method: 'GET', status: 404 },
      { operation: 'none', method: 'GET', status: 400 },
    ])
  })
})

test('an answer from the view says its index and its age, wherever the contract declares it', async () => {
  await withServer(async (server) => {
    const aged = await ask(server, '/api/services', { as: 'orders' })
    assert.equal(aged.headers.get('haus-index'), '5')
    assert.equal(aged.headers.get('haus-age-ms'), '0')
    const written = await ask(server, '/api/services/register', {
      as: 'orders',
      json: registration,
    })
    assert.equal(written.status, 201)
    assert.equal(written.headers.get('haus-age-ms'), null)
  })
})

test('the headers of an operation take the place of the usual ones, and none is there twice', async () => {
  const own = {
    'cache-control': 'public, max-age=60',
    'x-content-type-options': 'own',
    etag: '"1"',
  }
  await withServer(
    async (server) => {
      const plain = await ask(server, '/health/ready')
      assert.equal(plain.headers.get('cache-control'), 'no-store')
      assert.equal(plain.headers.get('x-content-type-options'), 'nosniff')
      const answer = await ask(server, '/health/live')
      // One that is there twice comes joined with a comma.
      for (const [name, value] of Object.entries(own)) assert.equal(answer.headers.get(name), value)
      assert.equal(answer.headers.get('content-type'), 'application/json')
    },
    { handlers: { getLive: () => ({ status: 200, body: { status: 'alive' }, headers: own }) } },
  )
})

test('a house with an operation missing or doubled does not start', async () => {
  await withServer(async (server) => {
    const { http } = server
    const routes = createRoutes(
      { ...http, app: (await import('fastify')).default() },
      {
        authenticate: () => assert.fail('nobody asks'),
        freshness: () => assert.fail('nobody asks'),
        canonicalService: (name) => name,
        recordDenial: async () => {},
      },
    )
    routes.implement(registerInstance, () => ({ status: 201 }))
    assert.throws(
      () => routes.implement(registerInstance, () => ({ status: 201 })),
      /registerInstance is implemented twice/,
    )
    assert.throws(() => routes.finish(), /operations without a handler: getLive, .*getMetrics/)
  })
})
