/** The database goes away under a running house: reads go on and say how old they are, writes say no at once. */
import { test, type TestContext } from 'node:test'
import assert from 'node:assert/strict'
import { processTree } from '../bench/process-usage.ts'
import {
  postgresUnavailable,
  startPostgres,
  type PostgresServer,
} from '../services/zimmer-13-api-coordinator/src/testing/postgres-server.ts'
import { until } from '../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { createCredential, createIdentity, type HouseClient } from './client.ts'
import { startHouse, type House } from './harness.ts'

const unavailable = postgresUnavailable()
const needsPostgres = unavailable === undefined ? {} : { skip: unavailable }
/** The promise is 250 ms; the rest is for a machine with other tests on it. */
const refusalDeadlineMs = 1_500
/** A database that hangs is told from a slow one only by waiting. */
const saidDeadlineMs = 20_000
const backDeadlineMs = 30_000
/** A minute shows what seconds do not: leases, pools and the driver's own limits pass meanwhile. */
const awayMs = process.env['HAUS_TEST_LONG'] === '1' ? 60_000 : 500
const readsFromMemory = [
  '/api/discover?service=orders',
  '/api/services',
  '/api/services/orders',
  '/api/services/orders/config',
  '/api/services/orders/health',
  '/api/services/orders/keys',
  '/api/health',
  '/api/health/services',
  '/api/credentials',
]
const canary = 'canary-of-a-house-without-database'

interface Stage {
  readonly house: House
  readonly postgres: PostgresServer
  readonly service: HouseClient
  readonly instanceId: string
  readonly incarnation: number
}

async function setUp(t: TestContext): Promise<Stage> {
  const postgres = await startPostgres()
  t.after(() => postgres.stop())
  const house = await startHouse({
    databaseUrl: postgres.url,
    env: { HAUS_ADVERTISE_ALLOW: '127.0.0.0/8' },
  })
  t.after(() => house[Symbol.asyncDispose]())
  await createCredential(house.operator, {
    name: 'orders-database',
    data: { password: canary },
    services: ['orders'],
  })
  const service = house.as((await createIdentity(house.operator, 'orders')).token)
  const { body } = await service.expectSoon(201, 'POST', '/api/services/register', registration(1))
  return { house, postgres, service, instanceId: body.instanceId, incarnation: body.incarnation }
}

function registration(place: number) {
  return { name: 'orders', version: '1.0.0', address: `127.64.1.${place}`, port: 9 }
}

/** @returns the codes with which the registration of place 2 and the other writes were refused. */
async function checkWhileAway({
  house,
  service,
  instanceId,
  incarnation,
}: Stage): Promise<string[]> {
  const discover = () => service.expect(200, 'GET', '/api/discover?service=orders')
  const ageMs = async (): Promise<number> => {
    const { headers, body } = await discover()
    assert.equal(body.service, 'orders')
    return Number(headers['haus-age-ms'])
  }
  await until('the answers say that they grow old', async () => (await ageMs()) > 500, 20_000)
  const before = await ageMs()
  await until('the age grows', async () => (await ageMs()) > before)
  for (const path of readsFromMemory) {
    const { headers } = await house.operator.expect(200, 'GET', path)
    assert.match(String(headers['haus-index']), /^\d+$/, path)
    assert.ok(Number(headers['haus-age-ms']) >= before, `${path}: ${headers['haus-age-ms']} ms`)
  }

  const refused = [
    ['POST', '/api/services/register', registration(2), service],
    ['GET', '/api/credentials/service/orders', undefined, service],
    ['POST', '/api/services/other/keys', undefined, house.operator],
  ] as const
  const codes: string[] = []
  for (const [method, path, body, client] of refused) {
    const answer = await client.request(method, path, { body })
    assert.equal(answer.status, 503, `${method} ${path}: ${answer.text}`)
    codes.push(answer.body.code)
    assert.match(String(answer.headers['content-type']), /^application\/problem\+json/)
    assert.ok(Number(answer.headers['retry-after']) >= 1, `${method} ${path} has no Retry-After`)
    assert.ok(answer.durationMs < refusalDeadlineMs, `${path} took ${answer.durationMs} ms`)
    assert.ok(!answer.text.includes(canary), 'a secret left without its audit record')
  }
  await until(
    'the house says that it takes no writes',
    async () => {
      const ready = await house.operator.get('/health/ready')
      assert.equal(ready.status, 200)
      assert.equal(ready.body.status, 'ready')
      return ready.body.writes === 'unavailable'
    },
    saidDeadlineMs,
  )
  // Leases live in memory: a service does not lose its place because the house lost its database.
  const beat = `/api/services/orders/instances/${instanceId}/heartbeat`
  await until(
    'the database was away for long enough',
    async () => {
      await service.expect(200, 'POST', beat, { incarnation })
      return (await ageMs()) > awayMs
    },
    awayMs + saidDeadlineMs,
  )
  for (const [method, path, body, client] of refused) {
    const { status, text } = await client.request(method, path, { body })
    assert.equal(status, 503, `${method} ${path}: ${text}`)
  }
  return codes
}

async function checkAfterwards(
  { house, service }: Stage,
  [registrationCode]: string[],
): Promise<void> {
  await until(
    'writes are available again, by themselves',
    async () => (await house.operator.get('/health/ready')).body.writes === 'available',
    backDeadlineMs,
  )
  await service.expectSoon(201, 'POST', '/api/services/register', registration(3))
  const read = await service.expectSoon(200, 'GET', '/api/credentials/service/orders')
  assert.equal(read.body.credentials['orders-database'].data.password, canary)
  const discover = () => service.expect(200, 'GET', '/api/discover?service=orders')
  // The house asks itself for its age at most each 50 ms, and all of the above can be quicker.
  await until('answers are young again', async () => {
    const { headers } = await discover()
    return Number(headers['haus-age-ms']) < 2_000
  })
  const { body } = await discover()
  const addresses = body.instances.map(({ address }: { address: string }) => address)
  // The first write into a silence is on its way when the house gives up on it, and says so.
  if (registrationCode !== 'write_outcome_unknown') {
    assert.equal(registrationCode, 'writes_unavailable')
    assert.ok(!addresses.includes('127.64.1.2'), 'what was refused has been written after all')
  }
}

test(
  'PostgreSQL is killed and comes back: reads state their age, writes answer 503, all resumes',
  needsPostgres,
  async (t) => {
    const stage = await setUp(t)
    await stage.postgres.kill9()
    const codes = await checkWhileAway(stage)
    await stage.postgres.restart()
    await checkAfterwards(stage, codes)
    assert.equal((await stage.house.stop()).exitCode, 0)
  },
)

test(
  'PostgreSQL hangs without closing anything: the same promises hold',
  needsPostgres,
  async (t) => {
    const stage = await setUp(t)
    const { pid } = stage.postgres
    assert.ok(pid !== undefined)
    const frozen = processTree(pid)
    for (const process_ of frozen) process.kill(process_, 'SIGSTOP')
    let codes: string[]
    try {
      codes = await checkWhileAway(stage)
    } finally {
      for (const process_ of frozen) process.kill(process_, 'SIGCONT')
    }
    await checkAfterwards(stage, codes)
  },
)

test(
  'told to stop while PostgreSQL hangs, the house is gone within 5 s',
  needsPostgres,
  async (t) => {
    const { house, postgres } = await setUp(t)
    assert.ok(postgres.pid !== undefined)
    const frozen = processTree(postgres.pid)
    for (const process_ of frozen) process.kill(process_, 'SIGSTOP')
    try {
      const stoppingMs = performance.now()
      const ended = await house.stop()
      const durationMs = performance.now() - stoppingMs
      assert.equal(ended.signal, null, 'it ended by itself')
      assert.equal(ended.exitCode, 0, ended.stderr)
      assert.ok(durationMs < 5_000, `it took ${durationMs} ms`)
    } finally {
      for (const process_ of frozen) process.kill(process_, 'SIGCONT')
    }
  },
)
