/** A house that is told to stop answers what it has taken, takes nothing new, and is gone within 5 s. */
import fs from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { once } from 'node:events'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { test, type TestContext } from 'node:test'
import assert from 'node:assert/strict'
import {
  attemptStart,
  folderWithDatabase,
  startHouse,
  temporaryFolder,
  type House,
} from './harness.ts'

const stopDeadlineMs = 5_000
/** A house that refuses what is under way would do so every time. */
const triesMax = 5

/** Accepts the house's check and never answers it: the registration behind it waits for a second. */
async function silentListener(t: TestContext) {
  const asked = Promise.withResolvers<void>()
  const sockets = new Set<net.Socket>()
  const server = net.createServer((socket) => {
    sockets.add(socket.on('error', () => {}))
    asked.resolve()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return { port: address.port, asked: asked.promise }
}

/** An open event stream: what would hold a careless server for ever. */
async function openStream(house: House): Promise<{ ended: Promise<void> }> {
  const request = http.get(`${house.url}/api/events`, {
    headers: { authorization: `Bearer ${house.operatorToken}` },
  })
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  assert.equal(response.statusCode, 200)
  // Cut or ended, a stream tells its reader to come back; how it ended is not judged here.
  const { promise: ended, resolve } = Promise.withResolvers<void>()
  response
    .on('error', () => {})
    .once('close', resolve)
    .resume()
  return { ended }
}

for (const { name, send } of [
  { name: 'SIGTERM', send: (house: House) => house.signal('SIGTERM') },
  {
    name: 'two SIGINT, as npm delivers Ctrl-C',
    send: (house: House) => {
      house.signal('SIGINT')
      house.signal('SIGINT')
    },
  },
]) {
  test(`${name}: requests under way are answered, streams end, exit 0 within 5 s`, async (t) => {
    // Embedded: closing that database is the longest part.
    const dataDir = await folderWithDatabase()
    t.after(() => fs.rmSync(dataDir, { recursive: true, force: true }))
    for (let tries = 1; ; tries++) {
      await using house = await startHouse({ dataDir })
      const listener = await silentListener(t)
      const stream = await openStream(house)
      const registering = house.operator.post('/api/services/register', {
        name: 'orders',
        version: '1.0.0',
        address: '127.0.0.1',
        port: listener.port,
        healthEndpoint: '/up',
      })
      await listener.asked
      const stoppingMs = performance.now()
      send(house)
      const answer = await registering
      const ended = await house.ended
      const durationMs = performance.now() - stoppingMs
      await stream.ended
      assert.equal(ended.signal, null, 'it ended by itself')
      assert.equal(ended.exitCode, 0, ended.stderr)
      assert.ok(durationMs < stopDeadlineMs, `it took ${durationMs} ms`)
      assert.equal(ended.stderr, '')
      await assert.rejects(house.operator.get('/health/live'), /ECONNREFUSED/)
      // A starved machine makes any house say 503 to a write, and one that stops takes no second try.
      if (answer.status === 503 && tries < triesMax) continue
      assert.equal(answer.status, 201, answer.text)
      assert.equal(answer.body.advertise.state, 'pending')
      return
    }
  })
}

test('a client that never finishes its request does not hold the house', async () => {
  await using house = await startHouse()
  const { hostname, port } = new URL(house.url)
  const socket = net.connect(Number(port), hostname).on('error', () => {})
  await once(socket, 'connect')
  socket.write(
    `POST /api/services/register HTTP/1.1\r\nHost: ${hostname}\r\nAuthorization: Bearer ${house.operatorToken}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{`,
  )
  // An answered request on another connection shows that the first one has been taken.
  await house.operator.expect(200, 'GET', '/health/live')
  const stoppingMs = performance.now()
  const ended = await house.stop()
  socket.destroy()
  assert.equal(ended.exitCode, 0, ended.stderr)
  assert.ok(performance.now() - stoppingMs < stopDeadlineMs)
})

test('a signal that comes while the house is being loaded ends it before it has made anything', async (t) => {
  const folder = temporaryFolder()
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }))
  const dataDir = path.join(folder, 'data')
  const preload = pathToFileURL(path.join(import.meta.dirname, 'signal-preload.ts')).href
  const env = { NODE_OPTIONS: `--import=${preload}` }
  const { exitCode, signal, stderr } = await attemptStart({ dataDir, env })
  assert.deepEqual([exitCode, signal, stderr], [0, null, ''])
  assert.ok(!fs.existsSync(dataDir))
})
