/** What an attacker writes to a socket; no HTTP client would. Each line is a promise of the front door. */
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { once } from 'node:events'
import { startHttpServer } from '../../testing/http-server.ts'
import type { TestHttpServer } from '../../testing/http-server.ts'
import { sendRaw, sendRawOnce } from '../../testing/raw-http.ts'

const token = 'Authorization: Bearer operator-token\r\n'
const discover = '/api/discover?service=orders'

/** A head with the lines in it, ended. */
function get(target: string, lines = `Host: localhost\r\n${token}`): string {
  return `GET ${target} HTTP/1.1\r\n${lines}\r\n`
}

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

const refusals: { trap: string; bytes: string; status: number; code: string }[] = [
  {
    trap: 'two Host headers',
    bytes: get(discover, `Host: localhost\r\nHost: evil.example\r\n${token}`),
    status: 400,
    code: 'invalid_request',
  },
  {
    trap: 'two Host headers that agree',
    bytes: get(discover, `Host: localhost\r\nhost: localhost\r\n${token}`),
    status: 400,
    code: 'invalid_request',
  },
  ...[
    'a b',
    '@evil',
    'evil/x',
    'localhost:port',
    'localhost:99999',
    '[::1',
    '[zz]',
    'a..b',
    '',
  ].map((host) => ({
    trap: `the malformed Host ${JSON.stringify(host)}`,
    bytes: get(discover, `Host: ${host}\r\n${token}`),
    status: 400,
    code: 'invalid_request',
  })),
  ...['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example', '2130706433'].map(
    (host) => ({
      trap: `the foreign Host ${host}`,
      bytes: get(discover, `Host: ${host}:8000\r\n${token}`),
      status: 421,
      code: 'foreign_host',
    }),
  ),
  {
    trap: 'HTTP/1.1 without Host',
    bytes: get(discover, token),
    status: 400,
    code: 'invalid_request',
  },
  ...[
    'http://localhost/api/discover?service=orders',
    'http://evil.example/api/discover',
    '*',
    '//evil.example/api/discover',
    '/api//discover',
    '/api/services/',
    '/api/./discover',
    '/api/services/../discover',
    '/api/services/..',
    '/api/%2e%2e/discover',
    '/api/.%2E/discover',
    '/api%2fdiscover',
    '/api/services/a%5cb',
    '/api\\discover',
    '/api/services/a%00',
    '/api/services/a%0d%0a',
    '/api/services/a%252f',
    '/api/discover;x=1?service=orders',
    '/api/discover%3fservice=orders',
    '/api/discover#x',
    '/api/discover?service=orders#x',
    '/api/services/%zz',
    '/api/services/%c3%28',
    `/api/services/${'a'.repeat(5000)}`,
  ].map((target) => ({
    trap: `the target ${target.slice(0, 60)}`,
    bytes: get(target),
    status: 400,
    code: 'invalid_path',
  })),
  {
    trap: 'two Authorization headers',
    bytes: get(discover, `Host: localhost\r\n${token}Authorization: Bearer orders-token\r\n`),
    status: 400,
    code: 'invalid_request',
  },
  {
    trap: 'Content-Length beside Transfer-Encoding',
    bytes: `POST /api/services/register HTTP/1.1\r\nHost: localhost\r\n${token}Content-Type: application/json\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    status: 400,
    code: 'invalid_request',
  },
  {
    trap: 'a transfer coding before chunked',
    bytes: `POST /api/services/register HTTP/1.1\r\nHost: localhost\r\n${token}Content-Type: application/json\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
    status: 400,
    code: 'invalid_request',
  },
  {
    trap: 'two Transfer-Encoding headers',
    bytes: `POST /api/services/register HTTP/1.1\r\nHost: localhost\r\n${token}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    status: 400,
    code: 'invalid_request',
  },
  {
    trap: 'Transfer-Encoding on HTTP/1.0',
    bytes: `POST /api/services/register HTTP/1.0\r\nHost: localhost\r\n${token}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    status: 400,
    code: 'invalid_request',
  },
  {
    trap: 'two Content-Type headers',
    bytes: `POST /api/services/register HTTP/1.1\r\nHost: localhost\r\n${token}Content-Type: application/json\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}`,
    status: 400,
    code: 'invalid_request',
  },
  {
    trap: 'a packed body',
    bytes: `POST /api/services/register HTTP/1.1\r\nHost: localhost\r\n${token}Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}`,
    status: 415,
    code: 'unsupported_media_type',
  },
  {
    trap: 'a body on GET',
    bytes: `GET ${discover} HTTP/1.1\r\nHost: localhost\r\n${token}Content-Length: 2\r\n\r\n{}`,
    status: 400,
    code: 'invalid_request',
  },
  {
    trap: 'an upgrade to h2c',
    bytes: get(
      discover,
      `Host: localhost\r\n${token}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n`,
    ),
    status: 400,
    code: 'invalid_request',
  },
  {
    trap: 'an upgrade to websocket',
    bytes: get(
      discover,
      `Host: localhost\r\n${token}Connection: Upgrade\r\nUpgrade: websocket\r\n`,
    ),
    status: 400,
    code: 'invalid_request',
  },
  {
    trap: 'CONNECT',
    bytes: 'CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n',
    status: 405,
    code: 'method_not_allowed',
  },
  {
    trap: 'an expectation that is not 100-continue',
    bytes: get(discover, `Host: localhost\r\n${token}Expect: 200-ok\r\n`),
    status: 400,
    code: 'invalid_request',
  },
  {
    trap: 'more than 16 KiB of headers',
    bytes: get(discover, `Host: localhost\r\n${token}X-Long: ${'a'.repeat(17_000)}\r\n`),
    status: 431,
    code: 'headers_too_large',
  },
  {
    trap: 'more than 100 headers',
    bytes: get(discover, `Host: localhost\r\n${token}${'X-A: 1\r\n'.repeat(100)}`),
    status: 431,
    code: 'headers_too_large',
  },
  {
    trap: 'a bare line feed in a header',
    bytes: get(discover, `Host: localhost\r\n${token}X-A: 1\nX-B: 2\r\n`),
    status: 400,
    code: 'invalid_request',
  },
  {
    trap: 'bytes that are not HTTP',
    bytes: 'HELO house\r\n\r\n',
    status: 400,
    code: 'invalid_request',
  },
]

test('each trap is answered with a problem document and reaches no handler', async (t) => {
  await withServer(async (server) => {
    for (const { trap, bytes, status, code } of refusals) {
      await t.test(trap, async () => {
        const [answer, ...more] = await sendRaw(server.port, Buffer.from(bytes, 'latin1'))
        assert.ok(answer)
        assert.equal(answer.status, status, answer.body)
        assert.equal(answer.headers['content-type'], 'application/problem+json')
        const problem = JSON.parse(answer.body)
        assert.equal(problem.code, code)
        assert.equal(problem.status, status)
        assert.equal(problem.requestId, answer.headers['x-request-id'])
        assert.match(problem.detail, /\.$/)
        assert.deepEqual(more, [])
        assert.deepEqual(server.calls, [])
      })
    }
  })
})

test('a plain request passes the same door', async () => {
  await withServer(
    async (server) => {
      for (const host of [
        'localhost',
        'LOCALHOST:1',
        'haus.localhost:8000',
        '127.0.0.1:8000',
        '[::1]:8000',
        '192.0.2.7',
        'coordinator',
        'coordinator.:8000',
        'a.house.example',
      ]) {
        const answer = await sendRawOnce(server.port, get(discover, `Host: ${host}\r\n${token}`))
        assert.equal(answer.status, 200, `${host}: ${answer.body}`)
      }
      const old = await sendRawOnce(server.port, `GET ${discover} HTTP/1.0\r\n${token}\r\n`)
      assert.equal(old.status, 200, 'HTTP/1.0 without Host, as load balancers probe')
    },
    { allowedHosts: ['coordinator', '*.house.example'] },
  )
})

test('a smuggled second request is never run', async () => {
  await withServer(async (server) => {
    const inner = get(discover)
    const answers = await sendRaw(
      server.port,
      `POST /api/services/register HTTP/1.1\r\nHost: localhost\r\n${token}Content-Type: application/json\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${inner}`,
    )
    assert.equal(answers.length, 1)
    assert.equal(answers[0]?.status, 400)
    assert.deepEqual(server.calls, [])
  })
})

const registration = JSON.stringify({ name: 'orders', version: '1', port: 3000 })

function register(lines: string, body: string): string {
  return `POST /api/services/register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${lines}\r\n${body}`
}

test('100 Continue is sent only to a caller who may, for a body that can be taken', async () => {
  await withServer(async (server) => {
    const length = `Content-Length: ${registration.length}\r\nExpect: 100-continue\r\n`

    const stranger = await sendRaw(server.port, register(length, ''))
    assert.deepEqual(
      stranger.map((answer) => answer.status),
      [401],
    )
    assert.equal(stranger[0]?.headers['connection'], 'close')

    const large = await sendRaw(
      server.port,
      register(`${token}Content-Length: 300000\r\nExpect: 100-continue\r\n`, ''),
    )
    assert.deepEqual(
      large.map((answer) => answer.status),
      [413],
    )

    const socket = connect(server.port, '127.0.0.1')
    socket.write(register(token + length, ''))
    const [first] = await once(socket, 'data')
    assert.match(String(first), /^HTTP\/1\.1 100 Continue\r\n/)
    assert.deepEqual(server.calls, [])
    socket.write(registration)
    const [second] = await once(socket, 'data')
    assert.match(String(second), /^HTTP\/1\.1 201 /)
    socket.destroy()
  })
})

test('where there is no route, nobody waits for a body and none is read', async () => {
  await withServer(async (server) => {
    for (const [line, status] of [
      ['POST /nope', 404],
      ['PUT /api/discover', 405],
    ] as const) {
      const head = `${line} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n`
      for (const rest of [
        'Content-Length: 2\r\nExpect: 100-continue\r\n',
        'Content-Length: 300000\r\n',
      ]) {
        // Nothing of the announced body is ever sent: an answer proves that nobody waited for it.
        const answer = await sendRawOnce(server.port, `${head}${rest}\r\n`)
        assert.equal(answer.status, status)
        assert.equal(answer.headers['connection'], 'close')
      }
    }
  })
})

test('the caller is refused before the body is read', async () => {
  await withServer(async (server) => {
    // Nothing of the announced body is ever sent: an answer proves that nobody waited for it.
    const answer = await sendRawOnce(server.port, register('Content-Length: 200000\r\n', ''))
    assert.equal(answer.status, 401)
    assert.equal(answer.headers['connection'], 'close')
    const service = 'Authorization: Bearer orders-token\r\n'
    const denied = await sendRawOnce(
      server.port,
      `POST /api/credentials/create HTTP/1.1\r\nHost: localhost\r\n${service}Content-Type: application/json\r\nContent-Length: 200000\r\n\r\n`,
    )
    assert.equal(denied.status, 403)
  })
})

test('a chunked body over the limit is refused while it arrives', async () => {
  await withServer(
    async (server) => {
      const chunk = `400\r\n${' '.repeat(1024)}\r\n`
      const answer = await sendRawOnce(
        server.port,
        register(`${token}Transfer-Encoding: chunked\r\n`, chunk.repeat(3)),
      )
      assert.equal(answer.status, 413)
      assert.equal(answer.headers['connection'], 'close')
    },
    { limits: { bodyMaxBytes: 2048 } },
  )
})

test('a slow head and a slow body end with 408', async () => {
  await withServer(
    async (server) => {
      for (const bytes of [
        'GET /health HTTP/1.1\r\nHost: loc',
        register(`${token}Content-Length: 10\r\n`, '{'),
      ]) {
        const answer = await sendRawOnce(server.port, bytes)
        assert.equal(answer.status, 408)
        assert.equal(JSON.parse(answer.body).code, 'request_timeout')
      }
    },
    { limits: { headersTimeoutMs: 100, requestTimeoutMs: 200, checkIntervalMs: 50 } },
  )
})

test('connections over the limit are dropped, and the others are served', async () => {
  await withServer(
    async (server) => {
      const held = connect(server.port, '127.0.0.1')
      await once(held, 'connect')
      const second = connect(server.port, '127.0.0.1')
      await once(second, 'connect')
      const third = connect(server.port, '127.0.0.1')
      third.resume()
      await once(third, 'close')
      held.write(get(discover))
      const [answer] = await once(held, 'data')
      assert.match(String(answer), /^HTTP\/1\.1 200 /)
      held.destroy()
      second.destroy()
    },
    { limits: { connectionsMax: 2 } },
  )
})
