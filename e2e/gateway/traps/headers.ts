/**
 * Fields cross the gateway or they do not, and no client decides what a service believes about
 * who is in front of it.
 */
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { gzipSync } from 'node:zlib'
import { assertRefusal, get, post } from '../front-door.ts'
import { exchange, RawClient } from '../raw-client.ts'
import { answerWith } from '../raw-upstream.ts'
import type { FrontDoor } from '../front-door.ts'

export async function headers(door: FrontDoor): Promise<void> {
  const { port, token } = door
  const { upstream } = await door.service('orders')
  const auth = `Haus-Token: ${token}\r\n`

  test('fields of the application arrive in their order, with their values as they were', async () => {
    upstream.behave(answerWith())
    const sent = [
      ['X-One', 'a, b'],
      ['x-two', 'ümlaut \t tab'],
      ['X-One', 'c'],
      ['Cookie', 'a=b; c=d'],
      ['Accept-Encoding', 'br;q=1, gzip;q=0'],
      ['User-Agent', 'proof/1'],
      ['X-Empty', ''],
    ] as const
    const lines = sent.map(([name, value]) => `${name}: ${value}\r\n`).join('')
    assert.equal(
      (await exchange(port, Buffer.from(get('/orders/x', auth + lines), 'latin1'))).status,
      200,
    )
    const names = new Set(sent.map(([name]) => name.toLowerCase()))
    const arrived = upstream.only.fields.filter(([name]) => names.has(name.toLowerCase()))
    assert.deepEqual(
      arrived.map(([name, value]) => [name.toLowerCase(), value]),
      sent.map(([name, value]) => [name.toLowerCase(), value]),
    )
  })

  test('nothing is asked of the service that the client did not ask', async () => {
    upstream.behave(answerWith())
    await exchange(port, get('/orders/x', auth))
    for (const name of [
      'accept',
      'accept-encoding',
      'user-agent',
      'te',
      'upgrade',
      'expect',
      'cookie',
    ]) {
      assert.deepEqual(upstream.only.all(name), [], name)
    }
  })

  test('a field that Connection nominates ends at the gateway, in whatever letters', async () => {
    upstream.behave(answerWith())
    const lines =
      'cOnNeCtIoN: X-SECRET, keep-alive\r\nConnection: x-Other\r\nx-secret: 1\r\nX-Other: 2\r\nX-Kept: 3\r\n'
    assert.equal((await exchange(port, get('/orders/x', auth + lines))).status, 200)
    assert.deepEqual(upstream.only.all('x-secret'), [])
    assert.deepEqual(upstream.only.all('x-other'), [])
    assert.deepEqual(upstream.only.all('x-kept'), ['3'])
    assert.doesNotMatch(upstream.only.all('connection').join(), /secret|other/i)
  })

  for (const name of [
    'Host',
    'Authorization',
    'Haus-Token',
    'Cookie',
    'Content-Length',
    'Content-Type',
    'Forwarded',
    'X-Forwarded-For',
    'X-Forwarded-Host',
    'X-Forwarded-Proto',
    'X-Real-IP',
    'X-Request-Id',
    'Traceparent',
  ]) {
    test(`Connection that nominates ${name} is refused`, async () => {
      upstream.behave(answerWith())
      for (const spelling of [name, name.toUpperCase(), `close, ${name.toLowerCase()}`]) {
        const bytes = post('/orders/x', `${auth}Connection: ${spelling}\r\n`, 'body')
        const answer = await exchange(port, bytes)
        // What is no field of the gateway's own may also simply be taken away.
        if (name === 'Content-Type' && answer.status === 200) continue
        assertRefusal(answer, 400)
      }
      if (name !== 'Content-Type') assert.deepEqual(upstream.heads, [])
    })
  }

  test('fields of one connection stay on it: none of the hop-by-hop fields goes on', async () => {
    upstream.behave(answerWith())
    const lines =
      'Keep-Alive: timeout=99\r\nProxy-Connection: keep-alive\r\nTE: trailers, gzip\r\nProxy-Authorization: Basic eHg6eXk=\r\nProxy-Authenticate: x\r\n'
    assert.equal((await exchange(port, get('/orders/x', auth + lines))).status, 200)
    for (const name of [
      'keep-alive',
      'proxy-connection',
      'te',
      'proxy-authorization',
      'proxy-authenticate',
      'upgrade',
      'transfer-encoding',
      'trailer',
    ]) {
      assert.deepEqual(upstream.only.all(name), [], name)
    }
  })

  test('X-Forwarded-* and Forwarded of a stranger are overwritten', async () => {
    upstream.behave(answerWith())
    const lines =
      'X-Forwarded-For: 10.6.6.6\r\nX-Forwarded-For: 10.7.7.7\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /evil\r\nX-Forwarded-Server: evil\r\nX-Real-IP: 10.8.8.8\r\nForwarded: for=10.9.9.9\r\n'
    assert.equal((await exchange(port, get('/orders/x', auth + lines))).status, 200)
    const { head } = upstream.only
    assert.doesNotMatch(head, /10\.[6-9]\.|evil|https/)
    assert.deepEqual(upstream.only.all('x-forwarded-for'), ['127.0.0.1'])
    assert.deepEqual(upstream.only.all('x-forwarded-proto'), ['http'])
    assert.deepEqual(upstream.only.all('x-forwarded-host'), ['haus.localhost'])
  })

  test('names with an underscore are dropped: no X_Forwarded_For passes for X-Forwarded-For', async () => {
    upstream.behave(answerWith())
    const lines =
      'X_Forwarded_For: 10.6.6.6\r\nx_forwarded-proto: https\r\nX-Forwarded_Host: evil\r\nHaus_Token: x\r\nContent_Length: 5\r\n'
    assert.equal((await exchange(port, get('/orders/x', auth + lines))).status, 200)
    assert.deepEqual(
      upstream.only.fields.filter(([name]) => name.includes('_')),
      [],
    )
  })

  test('two Authorization headers, or two tokens, are refused', async () => {
    upstream.behave(answerWith())
    for (const lines of [
      `Authorization: Bearer ${token}\r\nAuthorization: Bearer ${token}\r\n`,
      `Authorization: Bearer ${token}\r\nauthorization: Basic eHg6eXk=\r\n`,
      `Haus-Token: ${token}\r\nHaus-Token: ${token}\r\n`,
    ]) {
      assertRefusal(await exchange(port, get('/orders/x', lines)), 400)
    }
    assert.deepEqual(upstream.heads, [])
  })

  test('the upstream has one Host, and no client writes two lines into it', async () => {
    upstream.behave(answerWith())
    assert.equal((await exchange(port, get('/orders/x', auth))).status, 200)
    assert.equal(upstream.only.all('host').length, 1)
  })

  test('trailers of a request are dropped', async () => {
    upstream.behave(answerWith())
    const bytes = `POST /orders/x HTTP/1.1\r\nHost: haus.localhost\r\n${auth}Trailer: X-Late\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Late: 1\r\nAuthorization: Bearer late\r\n\r\n`
    assert.equal((await exchange(port, bytes)).status, 200)
    assert.equal(upstream.only.body.toString(), 'hi')
    assert.deepEqual(upstream.only.trailers, [])
    assert.deepEqual([...upstream.only.all('x-late'), ...upstream.only.all('authorization')], [])
  })

  test('trailers of an answer are dropped', async () => {
    upstream.behave(({ socket }) => {
      socket.write(
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n2\r\nhi\r\n0\r\nX-Late: 1\r\n\r\n',
      )
    })
    const answer = await exchange(port, get('/orders/x', auth))
    assert.equal(answer.body.toString(), 'hi')
    assert.deepEqual(answer.trailers, [])
  })

  test('the fields of an answer arrive as the service wrote them, every Set-Cookie apart', async () => {
    const lines =
      'Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nX-One: a, b\r\nVary: Accept\r\nVary: Origin\r\nServer: mine\r\nETag: W/"x"\r\n'
    upstream.behave(answerWith('body', lines, 'HTTP/1.1 203 Odd'))
    const answer = await exchange(port, get('/orders/x', auth))
    assert.equal(answer.status, 203)
    assert.deepEqual(answer.fields.get('set-cookie'), ['a=1; Path=/', 'b=2'])
    assert.deepEqual(answer.fields.get('vary')?.join(', '), 'Accept, Origin')
    assert.deepEqual(answer.fields.get('x-one'), ['a, b'])
    assert.deepEqual(answer.fields.get('server'), ['mine'])
    assert.deepEqual(answer.fields.get('etag'), ['W/"x"'])
  })

  test('a field that the answer’s Connection nominates ends at the gateway', async () => {
    upstream.behave(
      answerWith(
        'x',
        'Connection: X-Inner, keep-alive\r\nX-Inner: secret\r\nKeep-Alive: timeout=9\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n',
      ),
    )
    const answer = await exchange(port, get('/orders/x', auth))
    assert.equal(answer.status, 200)
    assert.doesNotMatch(answer.head, /X-Inner|timeout=9|Proxy-Authenticate|h2c/i)
  })

  test('a service cannot pass its answer off as the gateway’s', async () => {
    upstream.behave(answerWith('x', 'Haus-Source: gateway\r\n', 'HTTP/1.1 502 Bad'))
    const answer = await exchange(port, get('/orders/x', auth))
    assert.notDeepEqual(answer.fields.get('haus-source'), ['gateway'])
  })

  test('what is compressed stays compressed, byte for byte', async () => {
    const packed = gzipSync('a'.repeat(10_000))
    upstream.behave(answerWith(packed, 'Content-Encoding: gzip\r\n'))
    const answer = await exchange(port, get('/orders/x', `${auth}Accept-Encoding: gzip\r\n`))
    assert.deepEqual(answer.fields.get('content-encoding'), ['gzip'])
    assert.deepEqual(answer.body, packed)
  })

  test('a redirect is handed to the client and never followed', async () => {
    upstream.behave(
      answerWith(
        '',
        `Location: http://127.0.0.1:${upstream.port}/elsewhere\r\n`,
        'HTTP/1.1 302 Found',
      ),
    )
    const answer = await exchange(port, get('/orders/x', auth))
    assert.equal(answer.status, 302)
    assert.deepEqual(answer.fields.get('location'), [`http://127.0.0.1:${upstream.port}/elsewhere`])
    assert.equal(upstream.only.target, '/x')
  })

  test('every request has a traceparent and an id; a good traceparent keeps its trace', async () => {
    upstream.behave(answerWith())
    await exchange(port, get('/orders/x', auth))
    assert.match(
      String(upstream.only.all('traceparent')),
      /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/,
    )
    assert.equal(upstream.only.all('x-request-id').length, 1)

    const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
    upstream.behave(answerWith())
    await exchange(
      port,
      get('/orders/x', `${auth}traceparent: 00-${trace}-00f067aa0ba902b7-01\r\n`),
    )
    assert.match(String(upstream.only.all('traceparent')), new RegExp(`^00-${trace}-`))

    upstream.behave(answerWith())
    await exchange(port, get('/orders/x', `${auth}traceparent: 00-evil\r\ntraceparent: x\r\n`))
    assert.match(
      String(upstream.only.all('traceparent')),
      /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/,
    )
  })

  test('interim answers of a service do not stand for its answer', async () => {
    upstream.behave(({ socket }) => {
      socket.write(
        'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok',
      )
    })
    await using client = await RawClient.connect(port)
    client.write(get('/orders/x', auth))
    const answer = await client.answer()
    assert.equal(answer.status, 201)
    assert.equal(answer.body.toString(), 'ok')
    upstream.behave(answerWith('next'))
    client.write(get('/orders/x', auth))
    assert.equal((await client.answer()).body.toString(), 'next')
  })
}
