/**
 * What an attacker writes to the gateway's socket. Two programs read each request, the gateway and
 * the service behind it: whatever they could read differently must end at the first one.
 */
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { assertRefusal, get, post } from '../front-door.ts'
import { exchange, RawClient } from '../raw-client.ts'
import { answerWith } from '../raw-upstream.ts'
import type { FrontDoor } from '../front-door.ts'

interface Trap {
  readonly trap: string
  readonly bytes: string
  readonly statuses: readonly number[]
}

export async function requestParsing(door: FrontDoor): Promise<void> {
  const { port, token } = door
  const { upstream } = await door.service('orders')
  const auth = `Haus-Token: ${token}\r\n`
  const host = 'Host: haus.localhost\r\n'

  const hostTraps: readonly Trap[] = [
    ...['a b', '@c', 'a/b', 'a..b', '[::1', 'haus.localhost:port', 'haus.localhost:99999', ''].map(
      (value) => ({
        trap: `the malformed Host ${JSON.stringify(value)}`,
        bytes: `GET /orders/x HTTP/1.1\r\nHost: ${value}\r\n${auth}Connection: close\r\n\r\n`,
        statuses: [400],
      }),
    ),
    {
      trap: 'two Host headers',
      bytes: `GET /orders/x HTTP/1.1\r\n${host}Host: evil.example\r\n${auth}\r\n`,
      statuses: [400],
    },
    {
      trap: 'two Host headers that agree',
      bytes: `GET /orders/x HTTP/1.1\r\n${host}hOST: haus.localhost\r\n${auth}\r\n`,
      statuses: [400],
    },
    {
      trap: 'HTTP/1.1 without Host',
      bytes: `GET /orders/x HTTP/1.1\r\n${auth}\r\n`,
      statuses: [400],
    },
  ]

  const framingTraps: readonly Trap[] = [
    {
      trap: 'Transfer-Encoding on HTTP/1.0',
      bytes: `POST /orders/x HTTP/1.0\r\n${host}${auth}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      statuses: [400],
    },
    ...['gzip, chunked', 'gzip', 'chunked, identity', 'identity', 'xchunked'].map((coding) => ({
      trap: `Transfer-Encoding: ${coding}`,
      bytes: `POST /orders/x HTTP/1.1\r\n${host}${auth}Transfer-Encoding: ${coding}\r\n\r\n0\r\n\r\n`,
      statuses: [400, 501],
    })),
    {
      trap: 'two Transfer-Encoding headers',
      bytes: `POST /orders/x HTTP/1.1\r\n${host}${auth}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      statuses: [400, 501],
    },
    ...['5, 5', '+5', '0x5', '-1', '5 5', ''].map((length) => ({
      trap: `Content-Length ${JSON.stringify(length)}`,
      bytes: `POST /orders/x HTTP/1.1\r\n${host}${auth}Content-Length: ${length}\r\n\r\nhello`,
      statuses: [400],
    })),
    {
      trap: 'two Content-Length headers',
      bytes: `POST /orders/x HTTP/1.1\r\n${host}${auth}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`,
      statuses: [400],
    },
    {
      trap: 'a chunk size that is none',
      bytes: `POST /orders/x HTTP/1.1\r\n${host}${auth}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n`,
      statuses: [400, 502],
    },
  ]

  const lineTraps: readonly Trap[] = [
    ['a bare LF between the lines', `GET /orders/x HTTP/1.1\n${host}${auth}\n`],
    ['a bare CR in a value', `GET /orders/x HTTP/1.1\r\n${host}${auth}X-A: b\rX-C: d\r\n\r\n`],
    ['a NUL in a value', `GET /orders/x HTTP/1.1\r\n${host}${auth}X-A: b\0c\r\n\r\n`],
    ['a space before the colon', `GET /orders/x HTTP/1.1\r\n${host}${auth}X-A : b\r\n\r\n`],
    ['a folded line', `GET /orders/x HTTP/1.1\r\n${host}${auth}X-A: b\r\n c\r\n\r\n`],
    ['a name with a space', `GET /orders/x HTTP/1.1\r\n${host}${auth}X A: b\r\n\r\n`],
    ['a space in the target', `GET /orders/a b HTTP/1.1\r\n${host}${auth}\r\n`],
    ['a method that is none', `GE(T /orders/x HTTP/1.1\r\n${host}${auth}\r\n`],
    ['HTTP/9.9', `GET /orders/x HTTP/9.9\r\n${host}${auth}\r\n`],
  ].map(([trap = '', bytes = '']) => ({ trap, bytes, statuses: [400, 405, 501, 505] }))

  for (const { trap, bytes, statuses } of [...hostTraps, ...framingTraps, ...lineTraps]) {
    test(`${trap} ends at the gateway`, async () => {
      upstream.behave(answerWith())
      await using client = await RawClient.connect(port)
      client.write(bytes)
      const answers = await client.answersUntilEnd()
      assert.equal(answers.length, 1, 'one answer, and the connection is closed')
      const [answer] = answers
      assert.ok(answer)
      assertRefusal(answer, ...statuses)
      assert.deepEqual(upstream.wholeHeads, [])
    })
  }

  const smuggled = get('/orders/smuggled', auth)

  for (const [trap, lines, body] of [
    [
      'Content-Length beside chunked',
      'Content-Length: 4\r\nTransfer-Encoding: chunked\r\n',
      '0\r\n\r\n',
    ],
    [
      'chunked beside Content-Length',
      'Transfer-Encoding: chunked\r\nContent-Length: 4\r\n',
      '0\r\n\r\n',
    ],
    [
      'an obscured chunked beside Content-Length',
      'Content-Length: 4\r\nTransfer-Encoding: \tchunked\r\n',
      '0\r\n\r\n',
    ],
    [
      'a chunked in other letters',
      'Content-Length: 4\r\ntransfer-ENCODING: Chunked\r\n',
      '0\r\n\r\n',
    ],
    ['a chunk extension with a line in it', 'Transfer-Encoding: chunked\r\n', '0;a=\nb\r\n\r\n'],
    ['a chunk that overruns', 'Transfer-Encoding: chunked\r\n', '1\r\nabc\r\n0\r\n\r\n'],
  ] as const) {
    test(`a request smuggled behind ${trap} is never run`, async () => {
      upstream.behave(answerWith())
      await using client = await RawClient.connect(port)
      client.write(`POST /orders/outer HTTP/1.1\r\n${host}${auth}${lines}\r\n${body}${smuggled}`)
      const answers = await client.answersUntilEnd()
      assert.equal(answers.length, 1)
      assert.ok(answers[0] !== undefined && answers[0].status >= 400)
      assert.deepEqual(upstream.faults, [])
      assert.deepEqual(upstream.wholeHeads, [], 'nothing of it was run')
    })
  }

  test('a body that holds a request stays a body', async () => {
    upstream.behave(answerWith())
    const answer = await exchange(port, post('/orders/outer', auth, smuggled))
    assert.equal(answer.status, 200)
    assert.equal(upstream.only.body.toString(), smuggled)
    upstream.behave(answerWith())
    const size = smuggled.length.toString(16)
    const chunked = await exchange(
      port,
      `POST /orders/outer HTTP/1.1\r\n${host}${auth}Transfer-Encoding: chunked\r\n\r\n${size}\r\n${smuggled}\r\n0\r\n\r\n`,
    )
    assert.equal(chunked.status, 200)
    assert.equal(upstream.only.body.toString(), smuggled)
  })

  for (const target of [
    'http://haus.localhost/orders/x',
    'http://evil.example/orders/x',
    'HTTP://127.0.0.1/orders/x',
    'file:///etc/passwd',
    '*',
    'orders/x',
  ]) {
    test(`the target ${target} in absolute or odd form is refused`, async () => {
      upstream.behave(answerWith())
      const answer = await exchange(port, get(target, `${auth}Connection: close\r\n`))
      assertRefusal(answer, 400)
      assert.deepEqual(upstream.heads, [])
    })
  }

  test('CONNECT is answered 405 and opens no tunnel', async () => {
    upstream.behave(answerWith())
    for (const target of [`127.0.0.1:${upstream.port}`, '/orders/x', 'orders:80']) {
      await using client = await RawClient.connect(port)
      client.write(`CONNECT ${target} HTTP/1.1\r\n${host}${auth}\r\n${smuggled}`)
      const answers = await client.answersUntilEnd()
      assert.equal(answers.length, 1, target)
      // A parser may refuse the form of the target before anybody looks at the method.
      assert.ok([400, 405].includes(answers[0]?.status ?? 0), target)
      if (target.includes(`:${upstream.port}`)) assert.equal(answers[0]?.status, 405)
    }
    assert.deepEqual(upstream.heads, [])
  })

  test('TRACE is refused, so that no answer repeats a token', async () => {
    upstream.behave(answerWith())
    const answer = await exchange(
      port,
      `TRACE /orders/x HTTP/1.1\r\n${host}${auth}Connection: close\r\n\r\n`,
    )
    assertRefusal(answer, 405, 501)
    assert.deepEqual(upstream.heads, [])
  })

  test('a GET with a body reaches the service framed as it came, and ends where it ended', async () => {
    upstream.behave(answerWith())
    await using client = await RawClient.connect(port)
    const hidden = 'GET /orders/hidden HTTP/1.1\r\nHost: x\r\n\r\n'
    client.write(
      `GET /orders/search HTTP/1.1\r\n${host}${auth}Content-Length: ${hidden.length}\r\n\r\n${hidden}`,
    )
    assert.equal((await client.answer()).status, 200)
    client.write(get('/orders/next', auth))
    assert.equal((await client.answer()).status, 200)
    assert.deepEqual(
      upstream.requests.map(({ target, body }) => [target, body.toString()]),
      [
        ['/search', hidden],
        ['/next', ''],
      ],
    )
    assert.deepEqual(upstream.faults, [])
  })

  test('pipelined requests are answered each with its own answer, in order', async () => {
    upstream.behave(({ received, socket }) => {
      const body = received.target
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
    })
    await using client = await RawClient.connect(port)
    const targets = Array.from({ length: 20 }, (_, place) => `/${place}`)
    client.write(targets.map((target) => get(`/orders${target}`, auth)).join(''))
    for (const target of targets) assert.equal((await client.answer()).body.toString(), target)
  })

  test('Expect: 100-continue is answered only after the token and the limit have been checked', async () => {
    upstream.behave(answerWith())
    const head = (lines: string): string =>
      `POST /orders/x HTTP/1.1\r\n${host}${lines}Expect: 100-continue\r\n\r\n`
    const stranger = await exchange(port, head('Content-Length: 5\r\n'))
    assertRefusal(stranger, 401)
    assert.deepEqual(stranger.interim, [])
    const large = await exchange(port, head(`${auth}Content-Length: 999999999999\r\n`))
    assertRefusal(large, 413)
    assert.deepEqual(large.interim, [])
    const unknown = await exchange(
      port,
      head('Content-Length: 5\r\n').replace('/orders', '/nobody'),
    )
    assert.deepEqual(unknown.interim, [])
    assert.deepEqual(upstream.heads, [])

    await using client = await RawClient.connect(port)
    client.write(head(`${auth}Content-Length: 5\r\n`))
    assert.equal(await client.interim(), 100)
    client.write('hello')
    assert.equal((await client.answer()).status, 200)
    assert.equal(upstream.only.body.toString(), 'hello')
    assert.deepEqual(upstream.only.all('expect'), [], 'the upstream is asked for nothing')
  })

  test('an Expect that nobody knows is answered 417', async () => {
    upstream.behave(answerWith())
    const bytes = `POST /orders/x HTTP/1.1\r\n${host}${auth}Expect: tea\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx`
    assertRefusal(await exchange(port, bytes), 417, 400)
    assert.deepEqual(upstream.heads, [])
  })

  for (const [trap, lines] of [
    [
      'h2c with HTTP2-Settings',
      'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n',
    ],
    ['h2c with a Content-Length', 'Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n'],
    [
      'a websocket',
      'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n',
    ],
    [
      'a websocket with a Content-Length',
      'Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n',
    ],
    ['TLS/1.0', 'Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n'],
  ] as const) {
    test(`an upgrade to ${trap} is refused, and its connection carries nothing else`, async () => {
      upstream.behave(
        answerWith(
          '',
          'Upgrade: h2c\r\nConnection: Upgrade\r\n',
          'HTTP/1.1 101 Switching Protocols',
        ),
      )
      await using client = await RawClient.connect(port)
      client.write(`GET /orders/x HTTP/1.1\r\n${host}${auth}${lines}\r\nhello${smuggled}`)
      const answers = await client.answersUntilEnd()
      assert.equal(answers.length, 1)
      const [answer] = answers
      assert.ok(answer)
      assertRefusal(answer, 400, 426, 501)
      assert.deepEqual(upstream.heads, [])
    })
  }

  test('HTTP/1.0 gets its answer and its connection is closed', async () => {
    upstream.behave(answerWith('old'))
    await using client = await RawClient.connect(port)
    client.write(`GET /orders/x HTTP/1.0\r\n${host}${auth}\r\n`)
    const answers = await client.answersUntilEnd()
    assert.deepEqual(
      answers.map(({ status, body }) => [status, body.toString()]),
      [[200, 'old']],
    )
  })
}
