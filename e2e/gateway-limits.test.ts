/** What is too large, too slow or too much ends with a clear answer and within its time. */
import { after, test } from 'node:test'
import assert from 'node:assert/strict'
import { until } from '../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { assertRefusal, get, openFrontDoor, post } from './gateway/front-door.ts'
import { exchange, RawClient } from './gateway/raw-client.ts'
import { answerWith, type Exchange } from './gateway/raw-upstream.ts'

const door = await openFrontDoor()
after(() => door[Symbol.asyncDispose]())
const { port, token } = door
const { upstream } = await door.service('orders')
const auth = `Haus-Token: ${token}\r\n`
const bodyMaxBytes = 10 * 2 ** 20

test('heads over 16 KiB are refused, and nothing reaches the service', async () => {
  upstream.behave(answerWith())
  for (const bytes of [
    get('/orders/x', `${auth}X-Large: ${'a'.repeat(20_000)}\r\n`),
    get('/orders/x', `${auth}${'a'.repeat(20_000)}: x\r\n`),
    get(`/orders/${'a'.repeat(20_000)}`, auth),
  ]) {
    assertRefusal(await exchange(port, bytes), 400, 414, 431)
  }
  assert.deepEqual(upstream.heads, [])
})

test('more than 100 fields are refused; 90 pass', async () => {
  const fields = (count: number): string =>
    Array.from({ length: count }, (_, place) => `X-${place}: 1\r\n`).join('')
  upstream.behave(answerWith())
  assertRefusal(await exchange(port, get('/orders/x', auth + fields(120))), 431)
  assert.deepEqual(upstream.heads, [])
  assert.equal((await exchange(port, get('/orders/x', auth + fields(90)))).status, 200)
  const arrived = upstream.only.fields.filter(([name]) => /^x-\d+$/i.test(name))
  assert.equal(arrived.length, 90, 'none is cut off in silence')
})

test('a body that is announced over the limit is refused before any of it is read', async () => {
  upstream.behave(answerWith())
  const answer = await exchange(
    port,
    `POST /orders/x HTTP/1.1\r\nHost: haus.localhost\r\n${auth}Content-Length: ${bodyMaxBytes + 1}\r\n\r\n`,
  )
  assertRefusal(answer, 413)
  assert.deepEqual(upstream.heads, [])
})

test('a chunked body over the limit is cut off while it arrives, and never looks whole to the service', async () => {
  upstream.behave(answerWith())
  await using client = await RawClient.connect(port)
  client.write(
    `POST /orders/x HTTP/1.1\r\nHost: haus.localhost\r\n${auth}Transfer-Encoding: chunked\r\n\r\n`,
  )
  const block = Buffer.alloc(2 ** 20)
  const chunk = Buffer.concat([Buffer.from('100000\r\n'), block, Buffer.from('\r\n')])
  for (let count = 0; count < 12 && !client.ended; count += 1) {
    if (!client.socket.write(chunk)) {
      await until('it is taken', () => client.ended || client.socket.writableLength === 0)
    }
  }
  assertRefusal(await client.answer(), 413)
  await until('the connection is closed', () => client.ended)
  assert.deepEqual(upstream.wholeHeads, [])
})

test('a body of just the limit passes', async () => {
  upstream.behave(async (arrived) => {
    await arrived.whole
    await answerWith(String(arrived.received.body.length))(arrived)
  })
  const answer = await exchange(port, post('/orders/x', auth, 'x'.repeat(bodyMaxBytes)))
  assert.equal(answer.body.toString(), String(bodyMaxBytes))
})

// These wait for the gateway's own timeouts, so they wait together.
test('timeouts', { concurrency: true }, async (t) => {
  await Promise.all([
    t.test('slowloris: a head that comes letter by letter ends with 408 within 15 s', async () => {
      await using client = await RawClient.connect(port)
      const startedMs = performance.now()
      client.write('GET /orders/x HTTP/1.1\r\nHost: haus.localhost\r\n')
      const drip = setInterval(() => client.write('X'), 500)
      try {
        const [answer] = await client.answersUntilEnd()
        assert.ok(answer)
        assertRefusal(answer, 408)
      } finally {
        clearInterval(drip)
      }
      assert.ok(performance.now() - startedMs < 15_000)
    }),
    t.test('a connection that never says anything is closed', async () => {
      await using client = await RawClient.connect(port)
      await until('it is closed', () => client.ended, 25_000)
    }),
    t.test('a service that never answers gives 504 within 20 s', async () => {
      const { name, upstream: silent } = await door.service('silent')
      silent.behave(() => {})
      const startedMs = performance.now()
      const answer = await exchange(port, post(`/${name}/x`, auth, 'once'))
      assertRefusal(answer, 504)
      const durationMs = performance.now() - startedMs
      assert.ok(durationMs > 5_000 && durationMs < 20_000, `${durationMs} ms`)
      assert.equal(silent.requests.length, 1, 'a POST is not sent again')
    }),
    t.test('a slow service that answers in time is waited for', async () => {
      const { name, upstream: slow } = await door.service('slow')
      let arrived: Exchange | undefined
      slow.behave((exchange_) => {
        arrived = exchange_
      })
      const answering = exchange(port, get(`/${name}/x`, auth))
      await until('it is there', () => arrived)
      const timer = setTimeout(() => {
        if (arrived) void answerWith('late')(arrived)
      }, 5_000)
      assert.equal((await answering).body.toString(), 'late')
      clearTimeout(timer)
    }),
  ])
})

test('the gateway answers others while a hundred connections say nothing', async () => {
  const silent = await Promise.all(Array.from({ length: 100 }, () => RawClient.connect(port)))
  upstream.behave(answerWith())
  for (const client of silent) client.write('POST /orders/x HT')
  for (let count = 0; count < 10; count += 1) {
    assert.equal((await exchange(port, get('/orders/x', auth))).status, 200)
  }
  for (const client of silent) client.socket.destroy()
})
