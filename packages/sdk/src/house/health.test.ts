import assert from 'node:assert/strict'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { ManualClock } from '../testing/manual-clock.ts'
import { until } from '../testing/until.ts'
import { createHealth } from './health.ts'

test('live and ready are answered, everything else is left to the program', async (t) => {
  const health = createHealth({ checks: { database: () => Promise.resolve() } })
  const server = http.createServer((request, response) => {
    if (!health.handle(request, response)) response.end('mine')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const get = async (path: string, method = 'GET'): Promise<unknown[]> => {
    const { port } = server.address() as AddressInfo
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method })
    return [answer.status, await answer.text()]
  }
  assert.deepEqual(await get('/health/live'), [200, '{"status":"alive"}'])
  const ready = '{"status":"ready","checks":{"database":"passed"}}'
  assert.deepEqual(await get('/health/ready?from=probe'), [200, ready])
  assert.deepEqual(await get('/health/ready', 'HEAD'), [200, ''])
  assert.equal((await get('/health/ready', 'POST'))[0], 405)
  assert.deepEqual(await get('/health'), [200, 'mine'])
  health.drain()
  assert.equal((await get('/health/ready'))[0], 503)
  assert.equal((await get('/health/live'))[0], 200)
})

test('a check that fails makes it not ready, and does not say why', async () => {
  const health = createHealth({
    checks: {
      database: () => Promise.reject(new Error('password canary')),
      queue() {
        throw new Error('canary')
      },
    },
  })
  const readiness = await health.ready()
  assert.deepEqual(readiness, {
    status: 'not_ready',
    checks: { database: 'failed', queue: 'failed' },
  })
})

test('a check that hangs is a timeout, is told to end, and is not started twice', async () => {
  const clock = new ManualClock()
  let runs = 0
  let told = false
  const health = createHealth({
    clock,
    timeoutMs: 700,
    checks: {
      database: (signal) => {
        runs += 1
        signal.addEventListener('abort', () => (told = true))
        return new Promise(() => {})
      },
    },
  })
  for (let ask = 0; ask < 3; ask++) {
    const ready = health.ready()
    await until('the check to begin', () => clock.pending === 1)
    clock.advance(700)
    assert.deepEqual((await ready).checks, { database: 'timeout' })
  }
  assert.ok(told)
  assert.equal(runs, 1)
  assert.equal(clock.pending, 0)
})

test('it can have a listener of its own', async () => {
  await using listener = await createHealth().listen({ port: 0 })
  const answer = await fetch(`http://127.0.0.1:${listener.port}/health/ready`)
  assert.equal(answer.status, 200)
  await answer.text()
  const other = await fetch(`http://127.0.0.1:${listener.port}/other`)
  assert.equal(other.status, 404)
  await other.text()
})
