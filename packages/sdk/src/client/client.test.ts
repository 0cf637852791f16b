import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '../testing/manual-clock.ts'
import { json, problem, startScriptedServer } from '../testing/scripted-server.ts'
import { until } from '../testing/until.ts'
import {
  createClient,
  HausApiError,
  HausUnreachableError,
  isTransient,
  staticToken,
} from './index.ts'

const page = (names: string[], nextCursor: string | null) => ({
  items: names.map((name) => ({ name })),
  nextCursor,
})

test('a call fills path, query and body as the contract has them, and answers by status', async () => {
  await using server = await startScriptedServer(({ path }, response) => {
    if (path.startsWith('/api/discover')) json(response, 200, { service: 'billing', instances: [] })
    else response.writeHead(204).end()
  })
  const client = createClient({ url: `${server.url}/`, tokens: staticToken('t-1') })
  const { status, body } = await client.call('discover', {
    query: { service: 'billing', tag: 'a b' },
  })
  assert.equal(status, 200)
  assert.equal(body.service, 'billing')
  const gone = await client.call('deregisterInstance', {
    params: { name: 'orders', id: 'x/../y' },
    query: { incarnation: 3 },
  })
  assert.equal(gone.status, 204)
  assert.equal(gone.body, undefined)
  assert.deepEqual(
    server.asked.map(({ method, path, headers }) => [method, path, headers.authorization]),
    [
      ['GET', '/api/discover?service=billing&tag=a+b', 'Bearer t-1'],
      ['DELETE', '/api/services/orders/instances/x%2F..%2Fy?incarnation=3', 'Bearer t-1'],
    ],
  )
})

test('a declared answer that is not 2xx is an answer, not a refusal', async () => {
  await using server = await startScriptedServer((_asked, response) =>
    json(response, 503, { status: 'draining', writes: 'available' }),
  )
  const { status, body } = await createClient({ url: server.url }).call('getReady')
  assert.equal(status, 503)
  assert.equal(body.status, 'draining')
})

test('a problem document is an error with code, status, fields, request id and patience', async () => {
  const errors = [{ field: '/port', detail: 'must be at most 65535' }]
  await using server = await startScriptedServer((_asked, response) =>
    problem(response, 503, 'writes_unavailable', {
      headers: { 'retry-after': '2' },
      body: { errors },
    }),
  )
  const client = createClient({ url: server.url, tokens: staticToken('t-1') })
  await assert.rejects(client.call('listServices'), (error) => {
    assert.ok(error instanceof HausApiError)
    assert.equal(error.code, 'writes_unavailable')
    assert.equal(error.status, 503)
    assert.equal(error.operation, 'listServices')
    assert.deepEqual(error.fields, errors)
    assert.equal(error.requestId, 'r-1')
    assert.equal(error.retryAfterMs, 2_000)
    assert.equal(error.message, 'Refused: writes_unavailable.')
    return isTransient(error)
  })
})

test('a refusal of the token endpoint has its code too', async () => {
  await using server = await startScriptedServer((_asked, response) => {
    response.setHeader('x-request-id', 'r-9')
    json(response, 401, { error: 'invalid_client', error_description: 'Wrong.' })
  })
  const client = createClient({ url: server.url })
  const asked = client.call('issueToken', { body: { grant_type: 'client_credentials' } })
  await assert.rejects(asked, {
    name: 'HausApiError',
    code: 'invalid_client',
    message: 'Wrong.',
    requestId: 'r-9',
  })
})

test('a call without an answer ends at its deadline', async () => {
  const clock = new ManualClock()
  await using server = await startScriptedServer(() => {})
  const client = createClient({ url: server.url, clock, timeoutMs: 5_000 })
  const call = client.call('getLive')
  void call.catch(() => {})
  await until('the request', () => server.asked.length === 1)
  clock.advance(5_000)
  await assert.rejects(call, { name: 'HausUnreachableError', reason: 'timeout' })
  assert.equal(clock.pending, 0)
})

test('a caller ends a call with a signal, and gets the reason of the signal', async () => {
  await using server = await startScriptedServer(() => {})
  const controller = new AbortController()
  const call = createClient({ url: server.url }).call('getLive', { signal: controller.signal })
  void call.catch(() => {})
  await until('the request', () => server.asked.length === 1)
  controller.abort(new Error('enough'))
  await assert.rejects(call, { message: 'enough' })
})

test('nobody there is an error that names the host and not the token', async () => {
  const server = await startScriptedServer(() => {})
  const { url } = server
  await server.close()
  const client = createClient({ url, tokens: staticToken('secret-token') })
  await assert.rejects(client.call('listServices'), (error) => {
    assert.ok(error instanceof HausUnreachableError)
    assert.equal(error.reason, 'unreachable')
    assert.match(
      error.message,
      /^Haus at 127\.0\.0\.1:\d+ cannot be reached: nothing listens there\.$/,
    )
    assert.ok(!JSON.stringify(error, Object.getOwnPropertyNames(error)).includes('secret-token'))
    return isTransient(error)
  })
})

test('what does not speak like a house is not believed, and no redirect is followed', async () => {
  await using server = await startScriptedServer(({ path }, response) => {
    if (path === '/health/live') {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Sign in</h1>')
    } else if (path === '/health') {
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"status":')
    } else if (path === '/health/ready') response.writeHead(302, { location: '/elsewhere' }).end()
    else response.writeHead(502, { 'content-type': 'text/plain' }).end('bad gateway')
  })
  const client = createClient({ url: server.url })
  for (const id of ['getLive', 'getHealth', 'getReady', 'getJwks'] as const) {
    await assert.rejects(client.call(id), { name: 'HausUnreachableError', reason: 'not_haus' }, id)
  }
  assert.equal(server.asked.length, 4)
})

test('an answer without an end is given up at its limit', async () => {
  await using server = await startScriptedServer((_asked, response) => {
    const part = Buffer.alloc(1024 * 1024, 'x')
    const more = (): void => {
      while (!response.destroyed && response.write(part));
    }
    response.writeHead(200, { 'content-type': 'application/json' }).on('drain', more)
    more()
  })
  await assert.rejects(createClient({ url: server.url }).call('getLive'), { reason: 'not_haus' })
})

test('a list is read page by page, with its filter', async () => {
  await using server = await startScriptedServer(({ path }, response) =>
    json(response, 200, path.includes('cursor=c') ? page(['c'], null) : page(['a', 'b'], 'c')),
  )
  const client = createClient({ url: server.url, tokens: staticToken('t-1') })
  const names: string[] = []
  for await (const { name } of client.list('listServices', { query: { limit: 2 } }))
    names.push(name)
  assert.deepEqual(names, ['a', 'b', 'c'])
  assert.deepEqual(
    server.asked.map(({ path }) => path),
    ['/api/services?limit=2', '/api/services?limit=2&cursor=c'],
  )
})

test('an address that is not one is refused without repeating it', () => {
  for (const url of ['haus:8000', 'ftp://haus', 'http://operator:hunter2@haus', 'http://h/?x=1']) {
    assert.throws(
      () => createClient({ url }),
      (error) => error instanceof TypeError && !error.message.includes('hunter2'),
    )
  }
})

test('a path is never built from a value that is missing', async () => {
  const client = createClient({ url: 'http://127.0.0.1:1', tokens: staticToken('t-1') })
  for (const name of ['', '.', '..']) {
    await assert.rejects(client.call('getService', { params: { name } }), TypeError)
  }
})

test('a token that the house does not take is replaced once, and the call made again', async () => {
  let valid = 't-2'
  await using server = await startScriptedServer(({ headers }, response) => {
    if (headers.authorization === `Bearer ${valid}`) json(response, 200, page([], null))
    else problem(response, 401, 'token_expired')
  })
  const tokens = ['t-1', 't-2', 't-3', 't-4']
  const source = {
    token: () => staticToken(tokens[0] ?? '').token('haus'),
    refused: () => void tokens.shift(),
  }
  const client = createClient({ url: server.url, tokens: source })
  await client.call('listServices')
  assert.equal(server.asked.length, 2)
  valid = 'none'
  await assert.rejects(client.call('listServices'), { code: 'token_expired' })
  assert.equal(server.asked.length, 4)
})

test('without a token only what is public is asked for', async () => {
  await using server = await startScriptedServer((_asked, response) =>
    json(response, 200, { status: 'alive' }),
  )
  const client = createClient({ url: server.url })
  await client.call('getLive')
  await assert.rejects(client.call('listServices'), { code: 'unauthenticated' })
  assert.equal(server.asked.length, 1)
})
