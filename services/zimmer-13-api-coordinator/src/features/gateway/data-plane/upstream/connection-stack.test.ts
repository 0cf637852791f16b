import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import net from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'
import { testCertificate } from '../../../../testing/certificate.ts'
import { until } from '../../../../testing/until.ts'
import type { TrafficInstance } from '../../messages.ts'
import type { AnswerHead } from './answer-head.ts'
import { ConnectRefused, type ConnectRules } from './connect.ts'
import { ConnectionStack } from './connection-stack.ts'
import { InvalidHead, type Attempt, type UpstreamConnection } from './connection.ts'
import { codeOf } from '../../../../platform/errors/thrown.ts'

const rules: ConnectRules = {
  refusal: (_ip, port) => (port === 1 ? 'is not for us' : null),
  lookupFor: () => (_name, _options, callback) => {
    callback(null, [{ address: '127.0.0.1', family: 4 }])
  },
}

function instanceAt(port: number, scheme: 'http' | 'https' = 'http', address = '127.0.0.1') {
  return { address, port, scheme } as TrafficInstance
}

/** A request to a stack, and all that it hears. */
class Asked implements Attempt {
  readonly method: string
  readonly path = '/x'
  readonly host = null
  readonly headers: readonly string[]
  readonly body: Buffer | null
  connection: UpstreamConnection | null = null
  written = false
  status = 0
  text = ''
  ended = false
  error: Error | null = null
  answerBegan = false
  wanted = true
  onData: () => void = () => {}
  readonly #stack: ConnectionStack

  constructor(
    stack: ConnectionStack,
    { method = 'GET', headers = [] as readonly string[], body = null as Buffer | null } = {},
  ) {
    this.#stack = stack
    this.method = method
    this.headers = headers
    this.body = body
    stack.dispatch(this)
  }

  awaits(stack: ConnectionStack): boolean {
    return this.wanted && stack === this.#stack
  }
  onConnecting(connection: UpstreamConnection): void {
    this.connection = connection
  }
  onWriting(connection: UpstreamConnection): void {
    this.connection = connection
    this.written = true
  }
  onAnswerHead({ status }: AnswerHead): void {
    this.status = status
  }
  onAnswerData(bytes: Buffer): void {
    this.text += bytes.toString('latin1')
    this.onData()
  }
  onAnswerEnd(): void {
    this.ended = true
    if (this.connection) this.#stack.giveBack(this.connection, 0)
  }
  onAttemptFailed(error: Error, answerBegan: boolean): void {
    this.error = error
    this.answerBegan = answerBegan
  }

  async answer(): Promise<this> {
    await until('the answer, or the end of the attempt', () => this.ended || this.error !== null)
    return this
  }
}

async function serve(
  handle: (request: IncomingMessage, response: ServerResponse) => void,
  make: (
    handle: (request: IncomingMessage, response: ServerResponse) => void,
  ) => Server = createServer,
) {
  const server = make(handle)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  let connections = 0
  server.on(make === createServer ? 'connection' : 'secureConnection', () => (connections += 1))
  return {
    port: (server.address() as net.AddressInfo).port,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

test('one connection serves one request after the other, and is closed when it has been idle', async () => {
  await using server = await serve((_request, response) => response.end('hello'))
  const stack = new ConnectionStack(instanceAt(server.port), rules)
  for (let count = 0; count < 3; count += 1) {
    const asked = await new Asked(stack).answer()
    assert.deepEqual([asked.status, asked.text, asked.error], [200, 'hello', null])
  }
  assert.deepEqual([server.connections(), stack.idle], [1, 1])
  stack.sweep(3_999)
  assert.equal(stack.idle, 1)
  stack.sweep(4_000)
  assert.equal(stack.idle, 0)
})

test('a service that says how long it keeps a connection is left a second before that', async () => {
  await using server = await serve((_request, response) => {
    response.setHeader('Keep-Alive', 'timeout=7')
    response.end()
  })
  const stack = new ConnectionStack(instanceAt(server.port), rules)
  await new Asked(stack).answer()
  stack.sweep(5_999)
  assert.equal(stack.idle, 1)
  stack.sweep(6_000)
  assert.equal(stack.idle, 0)
})

test('a service that keeps a connection for no longer than the second of margin gets a new one each time', async () => {
  let seconds = 0
  await using server = await serve((_request, response) => {
    response.setHeader('Keep-Alive', `timeout=${seconds}`)
    response.end()
  })
  const stack = new ConnectionStack(instanceAt(server.port), rules)
  for (seconds of [0, 1]) {
    await new Asked(stack).answer()
    assert.equal(stack.idle, 0)
  }
})

test('a connection is kept neither after `Connection: close` nor by an instance that is gone', async () => {
  await using server = await serve((request, response) => {
    if (request.method === 'HEAD') response.setHeader('Connection', 'close')
    response.end()
  })
  const stack = new ConnectionStack(instanceAt(server.port), rules)
  await new Asked(stack, { method: 'HEAD' }).answer()
  assert.equal(stack.idle, 0)
  await new Asked(stack).answer()
  assert.equal(stack.idle, 1)
  const last = new Asked(stack)
  stack.retire()
  assert.equal((await last.answer()).status, 200)
  assert.equal(stack.idle, 0)
})

test('bytes that nobody asked for end an idle connection before it is used', async () => {
  const sockets: net.Socket[] = []
  const server = net.createServer((socket) => {
    sockets.push(socket)
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood'))
    socket.on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const stack = new ConnectionStack(instanceAt((server.address() as net.AddressInfo).port), rules)
  assert.equal((await new Asked(stack).answer()).text, 'good')
  sockets[0]?.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON')
  await until('the idle connection has ended', () => stack.idle === 0)
  assert.equal((await new Asked(stack).answer()).text, 'good')
  assert.equal(sockets.length, 2)
  stack.retire()
  for (const socket of sockets) socket.destroy()
  server.close()
})

test('a reader that is paused in the middle of an answer leaves a connection that reads', async () => {
  const large = 'x'.repeat(1_000_000)
  await using server = await serve((_request, response) => response.end(large))
  const stack = new ConnectionStack(instanceAt(server.port), rules)
  for (let count = 0; count < 3; count += 1) {
    const asked = new Asked(stack)
    let pauses = 0
    asked.onData = () => {
      const { connection } = asked
      connection?.pause()
      pauses += 1
      setImmediate(() => connection?.resume())
    }
    assert.equal((await asked.answer()).text.length, large.length)
    assert.ok(pauses > 1)
  }
  assert.equal(server.connections(), 1)
})

test('a body goes with its length, and a method that needs one says that it has none', async () => {
  const seen: string[] = []
  await using server = await serve((request, response) => {
    let text = ''
    request.setEncoding('latin1')
    request.on('data', (part: string) => (text += part))
    request.on('end', () => {
      seen.push(`${request.method} ${request.headers['content-length']} ${text.length}`)
      response.end()
    })
  })
  const stack = new ConnectionStack(instanceAt(server.port), rules)
  for (const size of [10, 60_000]) {
    await new Asked(stack, { method: 'PUT', body: Buffer.alloc(size, 0xe9) }).answer()
  }
  await new Asked(stack, { method: 'POST' }).answer()
  await new Asked(stack, { method: 'DELETE' }).answer()
  assert.deepEqual(seen, ['PUT 10 10', 'PUT 60000 60000', 'POST 0 0', 'DELETE undefined 0'])
})

test('a value that would make a line of its own is never written', async () => {
  await using server = await serve((_request, response) => response.end())
  const stack = new ConnectionStack(instanceAt(server.port), rules)
  const { error } = await new Asked(stack, { headers: ['x-a', 'b\r\nx-evil: c'] }).answer()
  assert.ok(error instanceof InvalidHead)
})

test('who is refused, by a rule or by nobody there, hears of it once', async () => {
  const byRule = await new Asked(new ConnectionStack(instanceAt(1), rules)).answer()
  assert.ok(byRule.error instanceof ConnectRefused && !byRule.written)
  let port: number
  {
    await using server = await serve(() => {})
    port = server.port
  }
  const byNobody = await new Asked(new ConnectionStack(instanceAt(port), rules)).answer()
  assert.deepEqual([codeOf(byNobody.error), byNobody.written], ['ECONNREFUSED', false])
})

test('a connection that closes says whether an answer had begun', async () => {
  await using server = await serve((request, response) => {
    if (request.method === 'GET') response.socket?.destroy()
    else {
      response.writeHead(200, { 'content-length': '10' })
      response.write('hello', () => response.socket?.destroy())
    }
  })
  const stack = new ConnectionStack(instanceAt(server.port), rules)
  const early = await new Asked(stack).answer()
  assert.deepEqual([early.answerBegan, early.written, early.status], [false, true, 0])
  const late = await new Asked(stack, { method: 'PUT' }).answer()
  assert.deepEqual([late.answerBegan, late.text, late.ended], [true, 'hello', false])
})

test('a request that nobody waits for any more is not written', async () => {
  let requests = 0
  await using server = await serve((_request, response) => {
    requests += 1
    response.end()
  })
  const stack = new ConnectionStack(instanceAt(server.port), rules)
  const unwanted = new Asked(stack)
  unwanted.wanted = false
  await new Asked(stack).answer()
  assert.equal(requests, 1)
  assert.equal(unwanted.written, false)
})

test('over TLS the name is verified, and the connection is kept as any other', async () => {
  const { cert, key } = testCertificate
  await using server = await serve(
    (_request, response) => response.end('safe'),
    (handle) => createTlsServer({ cert, key }, handle),
  )
  const stranger = new ConnectionStack(instanceAt(server.port, 'https', 'localhost'), rules)
  assert.match(codeOf((await new Asked(stranger).answer()).error) ?? '', /SELF_SIGNED|VERIFY/)
  const before = tls.getCACertificates('default')
  tls.setDefaultCACertificates([...before, cert])
  try {
    const stack = new ConnectionStack(instanceAt(server.port, 'https', 'localhost'), rules)
    for (let count = 0; count < 3; count += 1) {
      assert.equal((await new Asked(stack).answer()).text, 'safe')
    }
    assert.equal(server.connections(), 1)
    stack.retire()
    const other = new ConnectionStack(instanceAt(server.port, 'https', 'other.example'), rules)
    const { error } = await new Asked(other).answer()
    assert.equal(codeOf(error), 'ERR_TLS_CERT_ALTNAME_INVALID')
  } finally {
    tls.setDefaultCACertificates(before)
  }
})
