import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { test, type TestContext } from 'node:test'
import { MessageChannel } from 'node:worker_threads'
import { systemRandom } from '../../../platform/crypto/random.ts'
import { ManualClock } from '../../../testing/manual-clock.ts'
import { until } from '../../../testing/until.ts'
import type { FromWorker, InstanceStatus, ServiceStatus, ToWorker } from '../messages.ts'
import { createDataPlane } from './data-plane.ts'

/** A plane that publishes `orders` at every path: with one instance, and a clock that the test moves. */
async function openPlane(t: TestContext, instancePort: number) {
  const clock = new ManualClock()
  const { port1: port, port2: main } = new MessageChannel()
  const changes = new SharedArrayBuffer(4)
  const { x } = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' })
  const told: FromWorker[] = []
  main.on('message', (message: FromWorker) => told.push(message))
  const tell = (message: ToWorker): void => {
    main.postMessage(message)
    Atomics.add(new Int32Array(changes), 0, 1)
  }
  const hear = async <K extends FromWorker['kind']>(kind: K) =>
    until(kind, () =>
      told.find((message): message is Extract<FromWorker, { kind: K }> => message.kind === kind),
    )

  tell({
    kind: 'services',
    index: 1,
    services: [
      {
        name: 'orders',
        aliases: [],
        callers: null,
        instances: [
          {
            id: 'a',
            incarnation: 1,
            address: '127.0.0.1',
            port: instancePort,
            scheme: 'http',
            zone: null,
            state: 'healthy',
            tier: 0,
            weight: 100,
          },
        ],
      },
    ],
  })
  tell({
    kind: 'routes',
    routes: [
      {
        id: 'all',
        host: null,
        pathPrefix: '/',
        methods: null,
        service: 'orders',
        stripPrefix: false,
        bodyMaxBytes: 256 * 1024 * 1024,
        retryIdempotencyKey: false,
      },
    ],
  })
  await createDataPlane({
    settings: {
      address: { host: '127.0.0.1', port: 0 },
      tls: null,
      domain: 'haus.localhost',
      hosts: [],
      advertiseAllow: ['127.0.0.0/8'],
      issuer: 'haus',
      jwk: { kty: 'OKP', crv: 'Ed25519', x: x ?? '', kid: '1', alg: 'EdDSA', use: 'sig' },
      tokenTtlSeconds: 900,
      bodyMaxBytes: 1024,
      logRequests: false,
      relaySecret: 'secret',
      changes,
    },
    port,
    clock,
    random: systemRandom,
  }).open()
  const opened = await hear('open')
  t.after(async () => {
    tell({ kind: 'drain', deadlineMs: 0 })
    await until('the door is closing', () => {
      clock.advance(1)
      return told.some(({ kind }) => kind === 'drained')
    })
    main.close()
  })

  async function service(): Promise<ServiceStatus> {
    told.length = 0
    tell({ kind: 'status', question: 1, service: 'orders' })
    const { status } = await hear('status')
    const [only] = status.services
    assert.ok(only)
    return only
  }

  async function instance(): Promise<InstanceStatus> {
    const [first] = (await service()).instances
    assert.ok(first)
    return first
  }

  /** What becomes of a request: its status and its body, or that it was cut off. */
  function ask(path = '/'): { readonly answer: Promise<string>; readonly began: Promise<unknown> } {
    const request = http.get({ port: opened.port, host: '127.0.0.1', path, agent: false })
    const began = new Promise<http.IncomingMessage>((resolve, reject) => {
      request.on('response', resolve)
      request.on('error', reject)
    })
    const answer = began.then(async (response) => {
      let text = `${response.statusCode} `
      response.setEncoding('latin1')
      response.on('data', (part: string) => (text += part))
      // Cut off, it says so as an error before it closes.
      response.on('error', () => (text += '…cut'))
      await new Promise((resolve) => response.on('close', resolve))
      return text
    })
    return { answer, began }
  }

  return { clock, port: opened.port, ask, instance, service }
}

async function serve(t: TestContext, server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return (server.address() as net.AddressInfo).port
}

/** Bytes have stopped moving: each buffer on their way is full. */
async function standstill(what: string, bytes: () => number): Promise<void> {
  let last = -1
  let same = 0
  await until(what, () => {
    const now = bytes()
    same = now === last ? same + 1 : 0
    last = now
    return same >= 20
  })
}

/** What the instance does with a connection once it has seen the head of a request. */
function rawInstance(t: TestContext, answer: (socket: net.Socket) => void): Promise<number> {
  const sockets = new Set<net.Socket>()
  t.after(() => sockets.forEach((socket) => socket.destroy()))
  return serve(
    t,
    net.createServer((socket) => {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.once('data', () => answer(socket))
    }),
  )
}

test('an instance that begins its answers and falls silent is cut off after a minute, and to blame', async (t) => {
  const port = await rawInstance(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello')
  })
  const plane = await openPlane(t, port)
  const asked = Array.from({ length: 5 }, () => plane.ask())
  await Promise.all(asked.map(({ began }) => began))
  plane.clock.advance(59_000)
  assert.equal((await plane.instance()).inFlight, 5)
  plane.clock.advance(2_000)
  for (const { answer } of asked) assert.equal(await answer, '200 hello…cut')
  const { inFlight, breaker } = await plane.instance()
  assert.deepEqual([inFlight, breaker], [0, 'open'])
})

test('of a client that does not read the instance is not to blame', async (t) => {
  const sending: net.Socket[] = []
  const size = 64 * 1024 * 1024
  const port = await rawInstance(t, (socket) => {
    sending.push(socket)
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`)
    socket.write(Buffer.alloc(size))
  })
  const plane = await openPlane(t, port)
  const clients = Array.from({ length: 5 }, () => {
    const client = net.connect(plane.port, '127.0.0.1')
    client.on('error', () => {})
    client.pause()
    client.write('GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n')
    return client
  })
  const unsent = (): number => sending.reduce((sum, socket) => sum + socket.writableLength, 0)
  await until('every answer is under way', () => sending.length === clients.length)
  await standstill('the clients have taken what they take', unsent)
  assert.ok(unsent() > 0)
  plane.clock.advance(301_000)
  assert.equal((await plane.instance()).inFlight, 0)
  assert.equal((await plane.instance()).breaker, 'closed')
  for (const client of clients) client.destroy()
})

test('an upload that the instance does not take ends after a minute as the fault of the instance', async (t) => {
  const port = await rawInstance(t, (socket) => socket.pause())
  const plane = await openPlane(t, port)
  const client = net.connect(plane.port, '127.0.0.1')
  t.after(() => client.destroy())
  let answer = ''
  client.on('error', () => {})
  client.on('data', (bytes: Buffer) => (answer += bytes.toString('latin1')))
  const size = 64 * 1024 * 1024
  client.write(`PUT / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: ${size}\r\n\r\n`)
  client.write(Buffer.alloc(size))
  await standstill('the instance has taken what it takes', () => client.writableLength)
  assert.ok(client.writableLength > 0)
  plane.clock.advance(59_000)
  assert.equal(answer, '')
  plane.clock.advance(2_000)
  await until('an answer', () => answer.includes('upstream_timeout'))
  assert.match(answer, /^HTTP\/1\.1 504 /)
})

test('an upload that the client does not send ends as the fault of the client', async (t) => {
  const port = await rawInstance(t, () => {})
  const plane = await openPlane(t, port)
  const client = net.connect(plane.port, '127.0.0.1')
  t.after(() => client.destroy())
  let answer = ''
  client.on('data', (bytes: Buffer) => (answer += bytes.toString('latin1')))
  client.write('PUT / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1000000\r\n\r\nhello')
  await until('it is under way', async () => (await plane.instance()).inFlight === 1)
  plane.clock.advance(61_000)
  await until('an answer', () => answer.includes('request_timeout'))
  assert.match(answer, /^HTTP\/1\.1 408 /)
  assert.equal((await plane.instance()).breaker, 'closed')
})

test('while the thread itself stood still nobody was late', async (t) => {
  let reply: () => void = () => {}
  const port = await rawInstance(t, (socket) => {
    reply = () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello')
  })
  const plane = await openPlane(t, port)
  const { answer } = plane.ask()
  await until('it is under way', async () => (await plane.instance()).inFlight === 1)
  plane.clock.stall(20_000)
  reply()
  assert.equal(await answer, '200 hello')
})

test('who waits for a place waits for a second, and whoever gets one is served', async (t) => {
  const holding: net.Socket[] = []
  const port = await rawInstance(t, (socket) => holding.push(socket))
  const plane = await openPlane(t, port)
  const held = Array.from({ length: 256 }, () => plane.ask('/held'))
  await until('every place is taken', () => holding.length === 256)
  const first = plane.ask('/first')
  await until('the first waits', async () => (await plane.service()).waiting === 1)
  const second = plane.ask('/second')
  await until('both wait', async () => (await plane.service()).waiting === 2)
  plane.clock.advance(900)
  holding[0]?.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
  await until('the first has its place', () => holding.length === 257)
  plane.clock.advance(700)
  assert.match(await second.answer, /^503 .*had no place within a second/s)
  for (const socket of holding) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  for (const { answer } of [...held, first]) assert.equal(await answer, '200 ')
})
