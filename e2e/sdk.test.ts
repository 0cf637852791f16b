/**
 * The house is away, and its services go on working among themselves; it returns, and everything
 * is right again without anybody registering anew. HAUS_TEST_LONG=1: away for two minutes.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { until } from '../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { freePort } from './free-port.ts'
import { folderWithDatabase, repositoryRoot, startHouse } from './harness.ts'
import { plainEnvironment } from './plain-environment.ts'
import { createPlace, type Place } from './sdk-service.ts'

const long = process.env['HAUS_TEST_LONG'] === '1'
const awayMs = long ? 120_000 : 3_000
/** Of each service; one makes some fifty calls a second. */
const workers = long ? '4' : '1'
/** The promise is 2 s; a machine that runs other tests beside this one gets more time. */
const backWithinMs = long ? 2_000 : 10_000

interface Stats {
  readonly ok: number
  readonly failed: number
  readonly failures: readonly string[]
  readonly state: string
  readonly instance?: { readonly id: string; readonly incarnation: number }
  readonly reachable: boolean
  readonly ageMs: number
}

async function openRoom(url: string, place: Place, peer: string) {
  const child = spawn(
    process.execPath,
    [path.join(repositoryRoot, 'e2e/sdk-room.ts'), place.name, peer, workers],
    {
      env: {
        ...plainEnvironment(),
        HAUS_URL: url,
        HAUS_CLIENT_ID: place.key.clientId,
        HAUS_CLIENT_SECRET_FILE: place.secretFile,
        HAUS_CACHE_DIR: path.dirname(place.cacheFile),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  const kill = (): void => void child.kill('SIGKILL')
  process.once('exit', kill)
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
  const ended = once(child, 'exit')
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data')
  const { port } = JSON.parse(line as string) as { port: number }
  return {
    said: () => said,
    async stats(): Promise<Stats> {
      const answer = await fetch(`http://127.0.0.1:${port}/stats`)
      return (await answer.json()) as Stats
    },
    async stop(): Promise<unknown> {
      child.kill('SIGTERM')
      const [code] = await ended
      process.off('exit', kill)
      return code
    },
    [Symbol.dispose]: kill,
  }
}

test('while the house is away its services call each other without a failure, and none registers again', async (t) => {
  const dataDir = await folderWithDatabase()
  t.after(() => rmSync(dataDir, { recursive: true, force: true }))
  const env = { HAUS_API_ADDR: `127.0.0.1:${await freePort()}` }
  const first = await startHouse({ dataDir, env })
  const places = await Promise.all(['orders', 'billing'].map((name) => createPlace(first, name)))
  const [orders, billing] = places as [Place, Place]
  using one = await openRoom(first.url, orders, 'billing')
  using two = await openRoom(first.url, billing, 'orders')
  const rooms = [one, two]
  const all = (): Promise<Stats[]> => Promise.all(rooms.map((room) => room.stats()))
  await until('both to call each other', async () => (await all()).every(({ ok }) => ok > 50))
  const before = await all()

  await first.kill9()
  await until('both to notice', async () => (await all()).every(({ reachable }) => !reachable))
  await delay(awayMs)
  const away = await all()
  for (const [at, { ok }] of away.entries()) {
    assert.ok(ok > (before[at]?.ok ?? 0) + awayMs / 100, `${ok} calls while it was away`)
  }

  await using second = await startHouse({ dataDir, env })
  const startedMs = performance.now()
  await until('both to know the truth', async () =>
    (await all()).every(
      ({ reachable, ageMs }) => reachable && ageMs < performance.now() - startedMs,
    ),
  )
  const backMs = Math.round(performance.now() - startedMs)
  const after = await all()
  t.diagnostic(
    `calls: ${after.map(({ ok }) => ok).join(' + ')}, right ${backMs} ms after the return`,
  )
  assert.ok(backMs <= backWithinMs, `${backMs} ms`)
  for (const [at, { failed, failures, state, instance }] of after.entries()) {
    assert.equal(failed, 0, failures.join('\n'))
    assert.equal(state, 'registered')
    assert.deepEqual(instance, before[at]?.instance)
    assert.equal(instance?.incarnation, 1)
  }
  for (const name of ['orders', 'billing']) {
    const { body } = await second.operator.expect(200, 'GET', `/api/services/${name}`)
    assert.deepEqual(
      body.instances.map(({ state, incarnation }: Record<string, unknown>) => [state, incarnation]),
      [['healthy', 1]],
    )
  }
  const { body: audit } = await second.operator.expect(
    200,
    'GET',
    '/api/audit?action=registerInstance&limit=10',
  )
  assert.equal(audit.items.length, 2)

  for (const room of rooms) {
    assert.equal(await room.stop(), 0, room.said())
    for (const { key } of places) assert.ok(!room.said().includes(key.clientSecret))
  }
  const { body: list } = await second.operator.expect(200, 'GET', '/api/services/billing')
  assert.deepEqual(list.instances, [])
})
