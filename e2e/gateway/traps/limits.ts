/** What is too large, too slow or too much ends with a clear answer and within its time. */
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { until } from '../../../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { assertRefusal, get, post } from '../front-door.ts'
import { exchange, RawClient } from '../raw-client.ts'
import { answerWith } from '../raw-upstream.ts'
import type { FrontDoor } from '../front-door.ts'

const bodyMaxBytes = 10 * 2 ** 20

/** These wait for the gateway's own timeouts, and do so while the other traps are set. */
export interface Patience {
  readonly slowloris: Promise<void>
  readonly wordless: Promise<void>
  readonly silent: Promise<void>
  readonly late: Promise<void>
}

export function beginWaiting(door: FrontDoor): Patience {
  const { port, token } = door
  const auth = `Haus-Token: ${token}\r\n`

  const dripAHead = async (): Promise<void> => {
    await using client = await RawClient.connect(port)
    client.write('GET /orders/x HTTP/1.1\r\nHost: haus.localhost\r\n')
    const drip = setInterval(() => client.write('X'), 500)
    try {
      const [answer] = await client.answersUntilEnd()
      assert.ok(answer)
      assertRefusal(answer, 408)
    } finally {
      clearInterval(drip)
    }
  }
  const sayNothing = async (): Promise<void> => {
    await using client = await RawClient.connect(port)
    await until('it is closed', () => client.ended, 25_000)
  }
  const askTheSilent = async (): Promise<void> => {
    const { name, upstream } = await door.service('silent')
    upstream.behave(() => {})
    const startedMs = performance.now()
    const answer = await exchange(port, post(`/${name}/x`, auth, 'once'))
    assertRefusal(answer, 504)
    const durationMs = performance.now() - startedMs
    assert.ok(durationMs > 5_000, `${durationMs} ms`)
    assert.equal(upstream.requests.length, 1)
  }
  const askTheLate = async (): Promise<void> => {
    const { name, upstream } = await door.service('late')
    upstream.behave(async (arrived) => {
      await delay(5_000)
      await answerWith('late')(arrived)
    })
    const answer = await exchange(port, get(`/${name}/x`, auth))
    assert.equal(answer.body.toString(), 'late')
  }
  const patience = {
    slowloris: dripAHead(),
    wordless: sayNothing(),
    silent: askTheSilent(),
    late: askTheLate(),
  }
  // Whoever fails early is looked at late.
  for (const waiting of Object.values(patience)) waiting.catch(() => {})
  return patience
}

export async function limits(door: FrontDoor, patience: Patience): Promise<void> {
  const { slowloris, wordless, silent, late } = patience
  const { port, token } = door
  const { upstream } = await door.service('orders')
  const auth = `Haus-Token: ${token}\r\n`

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

  test('the gateway answers others while a hundred connections say nothing', async () => {
    const wordy = await Promise.all(Array.from({ length: 100 }, () => RawClient.connect(port)))
    upstream.behave(answerWith())
    for (const client of wordy) client.write('POST /orders/x HT')
    for (let count = 0; count < 10; count += 1) {
      assert.equal((await exchange(port, get('/orders/x', auth))).status, 200)
    }
    for (const client of wordy) client.socket.destroy()
  })

  test('slowloris: a head that comes letter by letter ends with 408', async () => {
    await slowloris
  })
  test('a connection that never says anything is closed', async () => {
    await wordless
  })
  test('a service that never answers gives 504, and a POST is not sent again', async () => {
    await silent
  })
  test('a slow service that answers in time is waited for', async () => {
    await late
  })
}
