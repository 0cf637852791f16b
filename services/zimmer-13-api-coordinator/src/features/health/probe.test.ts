import assert from 'node:assert/strict'
import { createServer, type RequestListener } from 'node:http'
import net from 'node:net'
import { test } from 'node:test'
import { ManualClock } from '../../testing/manual-clock.ts'
import { resetConnection } from '../../testing/reset-connection.ts'
import { until } from '../../testing/until.ts'
import { createPlaces } from './places.ts'
import { createProber, type ConnectRules, type Finding, type Target } from './probe.ts'

const openRules: ConnectRules = {
  refusal: () => null,
  lookupFor: () => (_name, _options, callback) =>
    callback(null, [{ address: '127.0.0.1', family: 4 }]),
}

async function listen(server: net.Server) {
  const sockets = new Set<net.Socket>()
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  return {
    port,
    sockets,
    onRequest: (listener: () => void) => void server.on('request', listener),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const httpServer = (answer: RequestListener) => listen(createServer(answer))
const at = (port: number, more: Partial<Target> = {}): Target => ({
  address: '127.0.0.1',
  port,
  scheme: 'http',
  healthEndpoint: '/up',
  ...more,
})

async function find(target: Target, rules = openRules) {
  const finding = await createProber({ clock: new ManualClock(), rules }).probe(target)
  assert(finding)
  return finding
}

test('2xx passes; the request says who asks and keeps no connection', async () => {
  let seen: { url: string | undefined; agent: string | undefined; connection: string | undefined }
  await using server = await httpServer((request, response) => {
    const { 'user-agent': agent, connection } = request.headers
    seen = { url: request.url, agent, connection }
    response.statusCode = 204
    response.end()
  })
  const finding = await find(at(server.port, { healthEndpoint: '/up?deep=1' }))
  assert.deepEqual([finding.kind, finding.reason, finding.mend], ['passed', null, null])
  assert.deepEqual(seen!, { url: '/up?deep=1', agent: 'haus', connection: 'close' })
})

const statuses: readonly (readonly [status: number, kind: string, mend: RegExp | null])[] = [
  [200, 'passed', null],
  [299, 'passed', null],
  [429, 'ailing', null],
  [301, 'failed', /redirect, which Haus does not follow/],
  [401, 'failed', /without a login/],
  [404, 'failed', /healthEndpoint the right path/],
  [500, 'failed', /must answer 2xx/],
  [503, 'failed', /must answer 2xx/],
]
for (const [status, kind, mend] of statuses) {
  test(`a status of ${status} is ${kind}, and what is wrong is said`, async () => {
    let requests = 0
    await using server = await httpServer((_request, response) => {
      requests += 1
      response.writeHead(status, { location: '/elsewhere' }).end('text')
    })
    const finding = await find(at(server.port))
    assert.equal(finding.kind, kind)
    if (mend) assert.match(finding.mend ?? '', mend)
    else assert.equal(finding.mend, null)
    assert.equal(requests, 1, 'a redirect is not followed')
  })
}

test('nobody listens: refused, with the two usual mistakes', async () => {
  const free = await httpServer(() => {})
  const { port } = free
  await free[Symbol.asyncDispose]()
  const loopback = await find(at(port))
  assert.deepEqual([loopback.kind, loopback.reason], ['refused', 'connection refused'])
  assert.match(loopback.mend ?? '', /Nothing listens on 127\.0\.0\.1/)
  const named = await find(at(port, { address: 'node-7' }))
  assert.match(named.mend ?? '', /0\.0\.0\.0 and not on 127\.0\.0\.1 only/)
  const tcp = await find(at(port, { scheme: 'tcp', healthEndpoint: null }))
  assert.equal(tcp.kind, 'refused')
})

test('without a health path, and for tcp, an accepted connection passes and is closed', async () => {
  await using server = await listen(net.createServer())
  for (const more of [{ healthEndpoint: null }, { scheme: 'tcp' as const }]) {
    assert.equal((await find(at(server.port, more))).kind, 'passed')
  }
  await until('the connections are closed', () => server.sockets.size === 0)
})

test('a connection that is cut without an answer is refused; another protocol is named', async () => {
  await using cut = await listen(net.createServer(resetConnection))
  assert.equal((await find(at(cut.port))).kind, 'refused')
  await using other = await listen(net.createServer((socket) => void socket.end('SSH-2.0-x\r\n')))
  const finding = await find(at(other.port))
  assert.equal(finding.kind, 'failed')
  assert.match(finding.mend ?? '', /does not speak http/)
  await using plain = await httpServer((_request, response) => response.end('up'))
  const tls = await find(at(plain.port, { scheme: 'https' }))
  assert.notEqual(tls.kind, 'passed')
  assert.match(tls.mend ?? '', /scheme/)
})

test('a silent service is given up after 5 s, and its connection closed', async () => {
  const clock = new ManualClock()
  let asked = false
  await using server = await httpServer(() => (asked = true))
  const probing = createProber({ clock, rules: openRules }).probe(at(server.port))
  await until('it has been asked', () => asked)
  clock.advance(4_999)
  let settled = false
  void probing?.then(() => (settled = true))
  await new Promise(setImmediate)
  assert.equal(settled, false)
  clock.advance(1)
  const finding = await probing
  assert.deepEqual([finding?.kind, finding?.reason], ['timeout', 'no answer within 5 s'])
  assert.match(finding?.mend ?? '', /took the connection and did not answer/)
  await until('the connection is closed', () => server.sockets.size === 0)
  assert.equal(clock.pending, 0)
})

test('a host that does not answer a connect is given up after 1 s, and a firewall is asked about', async () => {
  const clock = new ManualClock()
  const never: ConnectRules = { ...openRules, lookupFor: () => () => {} }
  const probing = createProber({ clock, rules: never }).probe(at(9, { address: 'node-7' }))
  await new Promise(setImmediate)
  clock.advance(1_000)
  const finding = await probing
  assert.equal(finding?.kind, 'timeout')
  assert.match(finding?.mend ?? '', /firewall/)
})

test('a body without end is cut after 64 KiB, and its status still counts', async () => {
  await using server = await httpServer((_request, response) => {
    const more = (): void => {
      while (!response.destroyed && response.write('x'.repeat(16_384)));
      response.once('drain', more)
    }
    more()
  })
  assert.equal((await find(at(server.port))).kind, 'passed')
  await until('the connection is closed', () => server.sockets.size === 0)
})

test('an address that is refused is never connected to, as a literal or behind a name', async () => {
  let connections = 0
  await using server = await listen(net.createServer(() => connections++))
  const refusing: ConnectRules = {
    refusal: () => 'is link-local',
    lookupFor: () => (_name, _options, callback) =>
      callback(Object.assign(new Error('"x" leads astray'), { name: 'AddressRefused' }), ''),
  }
  const literal = await find(at(server.port), refusing)
  assert.deepEqual([literal.kind, literal.reason], ['failed', 'address refused'])
  const named = await find(at(server.port, { address: 'node-7' }), refusing)
  assert.match(named.mend ?? '', /leads astray/)
  assert.equal(connections, 0)
})

test('a place is taken for as long as the probe lasts', async () => {
  const clock = new ManualClock()
  await using server = await httpServer((_request, response) => response.end('up'))
  const places = createPlaces({ clock, concurrencyMax: 1 })
  const prober = createProber({ clock, rules: openRules, places })
  const first = prober.probe(at(server.port), 'urgent')
  assert(first)
  assert.equal(prober.underWay, 1)
  assert.equal(prober.probe(at(server.port), 'urgent'), null)
  await first
  assert.equal(prober.underWay, 0)
  assert(await prober.probe(at(server.port), 'urgent'))
})

test('an answer that came while this process stood still counts, however late it is read', async () => {
  const clock = new ManualClock()
  let answer = (): void => {}
  await using server = await httpServer((_request, response) => {
    answer = () => void response.end('up')
  })
  let asked = false
  server.onRequest(() => (asked = true))
  const probing = createProber({ clock, rules: openRules }).probe(at(server.port))
  await until('it has been asked', () => asked)
  clock.advance(2_000)
  // The timers run before the socket is read, as they do when a stopped process goes on.
  clock.stall(60_000)
  answer()
  assert.equal((await probing)?.kind, 'passed')
  assert.equal(clock.pending, 0)
})

test('time in which this process stood still is not the service’s: it has its five seconds', async () => {
  const clock = new ManualClock()
  await using server = await httpServer(() => {})
  let asked = false
  server.onRequest(() => (asked = true))
  const probing = createProber({ clock, rules: openRules }).probe(at(server.port))
  let finding: Finding | undefined
  void probing?.then((found) => (finding = found))
  await until('it has been asked', () => asked)
  clock.advance(3_000)
  clock.stall(3_000)
  clock.advance(1_000)
  await new Promise(setImmediate)
  assert.equal(finding, undefined, 'four seconds of its own')
  clock.advance(2_000)
  const judged = await until('it is judged', () => finding)
  assert.equal(judged.kind, 'timeout')
})

test('a process that stands still again and again judges nobody', async () => {
  const clock = new ManualClock()
  await using server = await httpServer(() => {})
  let asked = false
  server.onRequest(() => (asked = true))
  const probing = createProber({ clock, rules: openRules }).probe(at(server.port))
  await until('it has been asked', () => asked)
  for (let stalls = 0; stalls < 4; stalls++) clock.stall(6_000)
  const finding = await probing
  assert.deepEqual([finding?.kind, finding?.reason], ['unjudged', null])
  await until('the connection is closed', () => server.sockets.size === 0)
  assert.equal(clock.pending, 0)
})

test('a connection that is cut after a stall of ours is no verdict; a refused one still is', async () => {
  const clock = new ManualClock()
  await using server = await httpServer(() => {})
  let asked = false
  server.onRequest(() => (asked = true))
  const prober = createProber({ clock, rules: openRules })
  const cut = prober.probe(at(server.port))
  await until('it has been asked', () => asked)
  clock.stall(4_000)
  for (const socket of server.sockets) resetConnection(socket)
  assert.equal((await cut)?.kind, 'unjudged')

  await server[Symbol.asyncDispose]()
  const refused = prober.probe(at(server.port))
  clock.stall(900)
  assert.equal((await refused)?.kind, 'refused')
})

test('the want of a port or a file here says nothing of the service', async () => {
  for (const code of ['EMFILE', 'EADDRNOTAVAIL']) {
    const poor: ConnectRules = {
      ...openRules,
      lookupFor: () => (_name, _options, callback) =>
        callback(Object.assign(new Error(code), { code }), ''),
    }
    assert.equal((await find(at(9, { address: 'node-7' }), poor)).kind, 'unjudged')
  }
})

test('stopping ends what is under way', async () => {
  await using server = await httpServer(() => {})
  const clock = new ManualClock()
  const prober = createProber({ clock, rules: openRules })
  const probing = prober.probe(at(server.port))
  await until('it is connected', () => server.sockets.size === 1)
  prober.stop()
  assert.equal((await probing)?.kind, 'unjudged')
  assert.equal(prober.probe(at(server.port)), null)
  assert.equal(clock.pending, 0)
})

for (const healthEndpoint of ['/up', null]) {
  const what = healthEndpoint === null ? 'a connect' : 'a request'
  test(`stopping ends ${what} that has no connection yet`, { timeout: 20_000 }, async () => {
    await using server = await httpServer(() => {})
    const clock = new ManualClock()
    const prober = createProber({ clock, rules: openRules })
    const probing = prober.probe(at(server.port, { healthEndpoint }))
    prober.stop()
    assert.equal((await probing)?.kind, 'unjudged')
    assert.equal(clock.pending, 0)
  })
}
