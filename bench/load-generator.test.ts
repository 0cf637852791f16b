/** The measuring instrument is measured first: on honest, wrong, slow and dying servers. */
import http from 'node:http'
import net from 'node:net'
import { once } from 'node:events'
import { test, type TestContext } from 'node:test'
import assert from 'node:assert/strict'
import { acknowledgedNumbers, generateLoad, LatencyHistogram } from './load-generator.ts'
import { runPlan } from './generator/run-plan.ts'
import type { Plan } from './load-generator.ts'

async function portOf(t: TestContext, server: net.Server): Promise<number> {
  const sockets = new Set<net.Socket>()
  server.on('connection', (socket: net.Socket) => sockets.add(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  })
  return (server.address() as net.AddressInfo).port
}

function planFor(port: number, changes: Partial<Plan> = {}): Plan {
  return {
    host: '127.0.0.1',
    port,
    connections: 4,
    warmupMs: 0,
    durationMs: 10_000,
    requestsMax: 40,
    // No test but those of timeouts may see one, however long a busy machine pauses.
    answerTimeoutMs: 30_000,
    templates: [{ method: 'GET', path: '/', expect: 200 }],
    ...changes,
  }
}

test('every request reaches the server once, whole and in its own words', async (t) => {
  const seen: { url: string; body: string; token: string | undefined }[] = []
  const port = await portOf(
    t,
    http.createServer((request, response) => {
      let body = ''
      request.setEncoding('utf8').on('data', (part: string) => (body += part))
      request.on('end', () => {
        seen.push({ url: request.url ?? '', body, token: request.headers.authorization })
        response.writeHead(201).end('chunked, since it has no length')
      })
    }),
  )
  const result = await generateLoad(
    planFor(port, {
      firstNumber: 100,
      recordAcknowledged: true,
      templates: [
        {
          method: 'POST',
          path: '/things/%n%',
          headers: { authorization: 'Bearer even' },
          body: '{"n":%n%,"ä":"%address%"}',
          expect: 201,
        },
        { method: 'POST', path: '/fixed', body: '{}', expect: 201 },
      ],
    }),
  )
  assert.equal(result.sent, 40)
  assert.equal(result.completed, 40)
  assert.deepEqual(result.statuses, { 201: 40 })
  assert.deepEqual(result.failures, {})
  assert.equal(result.nextNumber, 140)
  assert.deepEqual(
    acknowledgedNumbers(result, 100),
    Array.from({ length: 40 }, (_, index) => 100 + index),
  )
  const even = seen.filter(({ url }) => url.startsWith('/things/'))
  assert.equal(even.length, 20)
  assert.equal(new Set(even.map(({ url }) => url)).size, 20)
  const first = even.find(({ url }) => url === '/things/100')
  assert.equal(first?.body, '{"n":100,"ä":"127.64.0.100"}')
  assert.equal(first?.token, 'Bearer even')
  assert.ok(seen.some(({ url, body }) => url === '/fixed' && body === '{}'))
})

test('a status that was not expected is a failure with a sample of what was said', async (t) => {
  let count = 0
  const port = await portOf(
    t,
    http.createServer((_request, response) => {
      count += 1
      response.writeHead(count % 4 === 0 ? 503 : 200).end('{"code":"writes_unavailable"}')
    }),
  )
  const result = await runPlan(planFor(port))
  assert.deepEqual(result.statuses, { 200: 30, 503: 10 })
  assert.deepEqual(result.failures, { 'status 503': 10 })
  assert.equal(result.failed, 10)
  assert.equal(result.completed, 30)
  assert.equal(result.samples[0]?.body, '{"code":"writes_unavailable"}')
})

test('a server that closes after each answer costs reconnections, not requests', async (t) => {
  const port = await portOf(
    t,
    http.createServer((_request, response) => {
      response.setHeader('connection', 'close').end('bye')
    }),
  )
  const result = await runPlan(planFor(port))
  assert.deepEqual(result.failures, {})
  assert.equal(result.completed, 40)
})

test('connections that are reset, cut short or answered with nonsense are failures', async (t) => {
  const answers = [
    '',
    'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort',
    'nonsense\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more',
  ]
  let count = 0
  const port = await portOf(
    t,
    net.createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => {
        socket.end(answers[count % answers.length] ?? '')
        count += 1
      })
    }),
  )
  const result = await runPlan(planFor(port, { requestsMax: 8, connections: 1 }))
  assert.equal(result.completed, 0)
  assert.equal(result.failed, 8)
  assert.deepEqual(result.failures, {
    'connection: closed without an answer': 2,
    'framing: closed in the middle of an answer': 2,
    'framing: not an answer: "nonsense"': 2,
    'framing: bytes after the end of an answer': 2,
  })
})

test('a server that is not there is a bounded number of failures, not a busy loop', async (t) => {
  const server = net.createServer()
  const port = await portOf(t, server)
  server.close()
  const result = await runPlan(planFor(port, { durationMs: 300, requestsMax: 1_000 }))
  assert.deepEqual(Object.keys(result.failures), ['connection: ECONNREFUSED'])
  assert.ok(result.failed >= 4 && result.failed <= 40, String(result.failed))
})

test('a server that never answers is a timeout, and the run still ends', async (t) => {
  const port = await portOf(
    t,
    net.createServer((socket) => socket.on('error', () => {}).resume()),
  )
  const result = await runPlan(
    planFor(port, { answerTimeoutMs: 150, durationMs: 200, requestsMax: 1_000 }),
  )
  assert.deepEqual(Object.keys(result.failures), ['timeout'])
  assert.equal(result.answered, 0)
  assert.equal(result.failed, result.sent)
})

test('an open loop holds its rate, and a stall counts against every request due in it', async (t) => {
  const stallMs = 300
  let stalledUntilMs = 0
  let count = 0
  const port = await portOf(
    t,
    http.createServer((_request, response) => {
      count += 1
      if (count === 100) stalledUntilMs = performance.now() + stallMs
      const waitMs = stalledUntilMs - performance.now()
      if (waitMs > 0) setTimeout(() => response.end('late'), waitMs)
      else response.end('ok')
    }),
  )
  const ratePerSecond = 500
  const plan = planFor(port, { ratePerSecond, durationMs: 1_000, requestsMax: 10_000 })
  const result = await runPlan(plan)
  assert.deepEqual(result.failures, {})
  assert.equal(result.sent, 500)
  assert.equal(result.completed, 500)
  // 4 connections wait out the stall, yet some 150 requests fell due in it: more than a tenth of
  // all waited for more than a third of it. A generator that only times what it sends sees 4.
  const latency = LatencyHistogram.from(result.latency)
  assert.ok(latency.quantileMs(0.9) > stallMs / 3, String(latency.quantileMs(0.9)))
  assert.ok(LatencyHistogram.from(result.lateness).maxMs > stallMs / 3)
})

test('an open loop owes what its plan says, whatever the clock shows', async (t) => {
  const port = await portOf(
    t,
    http.createServer((_request, response) => response.end('ok')),
  )
  // The end of the run rounds up, since doubles are coarser beyond 2 ** 20: by the clock it lasts
  // a little longer than planned, and an eleventh request would begin in that little.
  const firstMs = 2 ** 20 - 5 + 3 * 2 ** -33
  const offsetMs = firstMs - performance.now()
  let first = true
  const clock = (): number => {
    if (!first) return performance.now() + offsetMs
    first = false
    return firstMs
  }
  const plan = planFor(port, { ratePerSecond: 500, durationMs: 20, answerTimeoutMs: 30_000 })
  const result = await runPlan(plan, {}, clock)
  assert.deepEqual(result.failures, {})
  assert.equal(result.completed, 10)
})

test('what an open loop could never send is a failure, not a gap', async (t) => {
  const port = await portOf(
    t,
    net.createServer((socket) => socket.on('error', () => {}).resume()),
  )
  const result = await runPlan(
    planFor(port, {
      ratePerSecond: 100,
      durationMs: 300,
      answerTimeoutMs: 100,
      connections: 1,
      requestsMax: 10_000,
    }),
  )
  assert.equal(result.completed, 0)
  assert.equal(result.failed, 30)
  assert.ok((result.failures['never sent'] ?? 0) > 10, JSON.stringify(result.failures))
})

test('the warm-up is sent and counted, but not measured', async (t) => {
  const connections = 4
  const ofWarmup = 200
  let served = 0
  const held: http.ServerResponse[] = []
  const port = await portOf(
    t,
    http.createServer((_request, response) => {
      // The rest waits for the measured time, however long or short the warm-up turned out.
      if (served >= ofWarmup && !phases.includes('measuring')) return void held.push(response)
      served += 1
      response.end('ok')
    }),
  )
  const phases: string[] = []
  const result = await generateLoad(
    planFor(port, { connections, warmupMs: 500, durationMs: 30_000, requestsMax: 400 }),
    {
      onMeasuring: () => {
        phases.push('measuring')
        served += held.length
        for (const response of held.splice(0)) response.end('ok')
      },
      onMeasured: () => phases.push('measured'),
    },
  )
  assert.deepEqual(phases, ['measuring', 'measured'])
  assert.equal(result.answered, 400)
  assert.equal(served, 400)
  assert.ok(result.completed >= 400 - ofWarmup && result.completed < 400, `${result.completed}`)
  assert.equal(LatencyHistogram.from(result.latency).count, result.completed)
})
