/** Bodies flow through the gateway as they come, at the pace of the slower side, and are never kept. */
import http from 'node:http'
import net from 'node:net'
import { once } from 'node:events'
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { memoryOf } from '../../../bench/process-usage.ts'
import { until } from '../../../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { get, register } from '../front-door.ts'
import { exchange, RawClient } from '../raw-client.ts'
import type { Exchange } from '../raw-upstream.ts'
import type { FrontDoor } from '../front-door.ts'

const MB = 2 ** 20
const largeBytes = 200 * MB
/** Socket buffers of four ends and a few chunks in between; the kernel grows its own to megabytes. */
const heldMaxBytes = 48 * MB
/** Garbage that has not been collected yet; a body that is kept would be 200. */
const growthMaxMb = 100

export function streaming(door: FrontDoor): void {
  const { port, token, house } = door
  const auth = `Haus-Token: ${token}\r\n`
  test('an answer reaches the client piece by piece, while the service still writes', async () => {
    const { name, upstream } = await door.service('pieces')
    let arrived: Exchange | undefined
    upstream.behave((exchange_) => {
      arrived = exchange_
      exchange_.socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
    })
    await using client = await RawClient.connect(port)
    client.write(get(`/${name}/x`, auth))
    await until('the head is there before any of the body', () => client.rest.includes('\r\n\r\n'))
    for (const piece of ['first', 'second', 'third']) {
      arrived?.socket.write(`${piece.length.toString(16)}\r\n${piece}\r\n`)
      await until(`${piece} is there`, () => client.rest.includes(piece))
    }
    arrived?.socket.write('0\r\n\r\n')
    assert.equal((await client.answer()).body.toString(), 'firstsecondthird')
  })

  test('server-sent events arrive one by one, at once', async () => {
    const { name, upstream } = await door.service('events')
    let arrived: Exchange | undefined
    upstream.behave((exchange_) => {
      arrived = exchange_
      exchange_.socket.write(
        'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n',
      )
    })
    await using client = await RawClient.connect(port)
    client.write(get(`/${name}/stream`, `${auth}Accept: text/event-stream\r\nLast-Event-ID: 7\r\n`))
    await until('the stream is open', () => client.rest.includes('text/event-stream'))
    assert.deepEqual(upstream.only.all('last-event-id'), ['7'])
    for (let id = 1; id <= 50; id += 1) {
      arrived?.socket.write(`id: ${id}\ndata: event-${id}.\n\n`)
      await until(`event ${id} is there`, () => client.rest.includes(`event-${id}.`))
    }
    client.socket.destroy()
    await until('the service hears that nobody listens', () => arrived?.socket.destroyed)
  })

  test('a request body reaches the service piece by piece, while the client still writes', async () => {
    const { name, upstream } = await door.service('upload')
    upstream.behave(async ({ received, socket, whole }) => {
      await whole
      const { length } = received.body
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${String(length).length}\r\n\r\n${length}`)
    })
    await using client = await RawClient.connect(port)
    const head = `POST /${name}/x HTTP/1.1\r\nHost: haus.localhost\r\n${auth}`
    client.write(`${head}Transfer-Encoding: chunked\r\n\r\n`)
    let sent = 0
    // Pieces larger than what may be kept back for a second try.
    for (let piece = 1; piece <= 3; piece += 1) {
      client.write(`40000\r\n${'x'.repeat(0x40000)}\r\n`)
      sent += 0x40000
      await until(
        `piece ${piece} is there`,
        () => (upstream.requests[0]?.body.length ?? 0) === sent,
      )
    }
    client.write('0\r\n\r\n')
    assert.equal((await client.answer()).body.toString(), String(sent))

    upstream.requests.length = 0
    client.write(`${head}Content-Length: ${2 * MB}\r\n\r\n`)
    client.write(Buffer.alloc(MB))
    await until('the first half is there', () => (upstream.requests[0]?.body.length ?? 0) === MB)
    client.write(Buffer.alloc(MB))
    assert.equal((await client.answer()).body.toString(), String(2 * MB))
  })

  test('both directions flow at once', async () => {
    const { name, upstream } = await door.service('echo')
    upstream.behave(({ socket }) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
    })
    await using client = await RawClient.connect(port)
    client.write(
      `POST /${name}/x HTTP/1.1\r\nHost: haus.localhost\r\n${auth}Transfer-Encoding: chunked\r\n\r\n`,
    )
    client.write('5\r\nbegin\r\n')
    await until('the answer has begun before the body has ended', () =>
      client.rest.includes('200 OK'),
    )
    const [socket] = upstream.sockets
    for (let count = 0; count < 5; count += 1) {
      client.write(`4\r\nask${count}\r\n`)
      await until('asked', () => upstream.requests[0]?.body.includes(`ask${count}`))
      socket?.write(`4\r\nsay${count}\r\n`)
      await until('said', () => client.rest.includes(`say${count}`))
    }
    client.write('0\r\n\r\n')
    await until('the request has ended', () => upstream.requests[0]?.complete)
    socket?.write('0\r\n\r\n')
    assert.equal((await client.answer()).body.toString(), 'say0say1say2say3say4')
  })

  function houseMb(): number {
    return memoryOf([house.pid]).rssMb
  }

  test('200 MB to a client that does not read wait at the service, not in the house', async (t) => {
    let poured: ReturnType<typeof pour> | undefined
    const upstream = http.createServer((request, response) => {
      if (request.url !== '/large') return response.end()
      response.writeHead(200, { 'content-length': largeBytes })
      response.flushHeaders()
      if (response.socket) poured = pour(response.socket, largeBytes)
    })
    upstream.listen(0, '127.0.0.1')
    await once(upstream, 'listening')
    t.after(() => {
      upstream.closeAllConnections()
      upstream.close()
    })
    await register(house, 'large', (upstream.address() as net.AddressInfo).port)
    await until(
      'it serves',
      async () =>
        (await exchange(port, get('/large/x', `${auth}Connection: close\r\n`))).status === 200,
    )

    const before = houseMb()
    const client = net.connect(port, '127.0.0.1')
    t.after(() => client.destroy())
    client.pause()
    client.write(get('/large/large', auth))
    await until('the answer is under way', () => poured !== undefined && poured.taken() > 0)
    await untilStill(() => poured?.taken() ?? 0)
    const held = poured?.taken() ?? 0
    const stalled = houseMb()
    assert.ok(held < heldMaxBytes, `${(held / MB).toFixed(0)} MB were taken from the service`)

    let received = 0
    let peak = stalled
    client.on('data', (chunk) => {
      received += chunk.length
    })
    client.resume()
    const watch = setInterval(() => {
      peak = Math.max(peak, houseMb())
    }, 20)
    t.after(() => clearInterval(watch))
    await until('all of it has arrived', () => received >= largeBytes, 60_000)
    t.diagnostic(
      `held ${(held / MB).toFixed(1)} MB; RSS ${before.toFixed(0)}, stalled ${stalled.toFixed(0)}, peak ${peak.toFixed(0)} MB`,
    )
    assert.ok(peak - before < growthMaxMb, `grew by ${(peak - before).toFixed(0)} MB`)
  })

  test('200 MB to a service that does not read wait at the client, not in the house', async (t) => {
    await door.operator.expectSoon(201, 'POST', '/api/gateway/routes', {
      host: 'large.example',
      pathPrefix: '/',
      service: 'slow',
      stripPrefix: false,
      bodyMaxBytes: largeBytes,
    })
    let arrived: http.IncomingMessage | undefined
    let received = 0
    const upstream = http.createServer((request, response) => {
      if (request.method !== 'POST') return response.end()
      arrived = request
      request.on('data', (chunk: Buffer) => {
        received += chunk.length
      })
      request.pause()
      request.on('end', () => response.end('done'))
    })
    upstream.listen(0, '127.0.0.1')
    await once(upstream, 'listening')
    t.after(() => {
      upstream.closeAllConnections()
      upstream.close()
    })
    await register(house, 'slow', (upstream.address() as net.AddressInfo).port)
    const host = 'Host: large.example\r\nConnection: close\r\n'
    await until(
      'it serves',
      async () => (await exchange(port, `GET / HTTP/1.1\r\n${host}\r\n`)).status === 200,
    )

    const before = houseMb()
    await using client = await RawClient.connect(port)
    client.write(`POST /x HTTP/1.1\r\n${host}Content-Length: ${largeBytes}\r\n\r\n`)
    const { taken } = pour(client.socket, largeBytes)
    await until('the upload is under way', () => arrived)
    await untilStill(taken)
    const held = taken()
    const stalled = houseMb()
    assert.ok(held < heldMaxBytes, `${(held / MB).toFixed(0)} MB were taken from the client`)
    let peak = stalled
    const watch = setInterval(() => {
      peak = Math.max(peak, houseMb())
    }, 20)
    t.after(() => clearInterval(watch))
    arrived?.resume()
    const answer = await client.answer()
    assert.equal(answer.body.toString(), 'done')
    assert.equal(received, largeBytes)
    t.diagnostic(
      `held ${(held / MB).toFixed(1)} MB; RSS ${before.toFixed(0)}, stalled ${stalled.toFixed(0)}, peak ${peak.toFixed(0)} MB`,
    )
    assert.ok(peak - before < growthMaxMb, `grew by ${(peak - before).toFixed(0)} MB`)
  })
}

/** Writes so many bytes as fast as they are taken, and tells how many were. */
function pour(socket: net.Socket, bytes: number): { readonly taken: () => number } {
  const block = Buffer.alloc(256 * 1024)
  let written = 0
  const more = (): void => {
    while (written < bytes) {
      written += block.length
      if (!socket.write(block)) {
        socket.once('drain', more)
        return
      }
    }
  }
  more()
  return { taken: () => socket.bytesWritten - socket.writableLength }
}

/** Until the number stays what it is for a while: all buffers on the way are full. */
async function untilStill(number: () => number): Promise<void> {
  let last = number()
  let still = 0
  while (still < 10) {
    await delay(50)
    const now = number()
    still = now === last && now > 0 ? still + 1 : 0
    last = now
  }
}
