import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import { createTestDatabase, needsPostgres } from './postgres-database.ts'
import { postgresUnavailable, startPostgres } from './postgres-server.ts'

const reason = postgresUnavailable()
const startable = reason === undefined ? {} : { skip: reason }

async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url })
  // A killed server ends its clients; the tests look at the server.
  client.on('error', () => {})
  await client.connect()
  return client
}

async function ask(url: string, sql: string): Promise<unknown[]> {
  const client = await connect(url)
  try {
    const { rows } = await client.query<Record<string, unknown>>({ text: sql })
    return rows.flatMap((row) => Object.values(row))
  } finally {
    await client.end()
  }
}

async function eventually(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000
  while (!holds()) {
    assert.ok(performance.now() < deadline, `within 20 s: ${what}`)
    await delay(20)
  }
}

function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

test('a server is PostgreSQL 16 as its tests need it', startable, async (t) => {
  // One server for all of these: each costs a second.
  await using server = await startPostgres()

  await t.test('it never runs as root and takes 200 connections', async () => {
    assert.match(String(await ask(server.url, 'show server_version')), /^16\./)
    assert.deepEqual(await ask(server.url, 'show max_connections'), ['200'])
    assert.deepEqual(await ask(server.url, 'show fsync'), ['off'])
    const status = readFileSync(`/proc/${server.pid}/status`, 'utf8')
    assert.doesNotMatch(status, /^Uid:.*\b0\b/m)
  })

  await t.test('a connection without the password is refused', async () => {
    const url = new URL(server.url)
    url.password = 'guessed'
    await assert.rejects(connect(url.href), /password authentication failed/)
  })

  await t.test('restart ends its connections and keeps its data', async () => {
    const client = await connect(server.url)
    // Not events.once(): that rejects on the error which comes before the end.
    const ended = new Promise<void>((resolve) => client.once('end', resolve))
    await ask(server.url, 'create table kept as select 7 as value')
    await server.restart()
    await ended
    assert.deepEqual(await ask(server.url, 'select value from kept'), [7])
  })

  await t.test('its port is refused to another one that asks for it', async () => {
    await assert.rejects(startPostgres({ port: server.port }), /port \d+ is taken/)
  })

  await t.test('stop ends the processes and removes the folder, once', async () => {
    const { pid, dataDir } = server
    await server.stop()
    assert.equal(pid !== undefined && isRunning(pid), false)
    assert.equal(existsSync(dataDir), false)
    await server.stop()
  })
})

test(
  'kill -9 loses nothing committed, on the same address after a restart',
  startable,
  async () => {
    await using server = await startPostgres({ durable: true })
    assert.deepEqual(await ask(server.url, 'show fsync'), ['on'])
    await ask(server.url, 'create table kept (value int)')
    for (let round = 1; round <= 3; round += 1) {
      await ask(server.url, `insert into kept values (${round})`)
      const before = server.pid
      await server.kill9()
      assert.equal(server.pid, undefined)
      await assert.rejects(connect(server.url), /ECONNREFUSED/)
      await server.restart()
      assert.notEqual(server.pid, before)
      assert.deepEqual(await ask(server.url, 'select count(*)::int from kept'), [round])
    }
  },
)

for (const ending of ['kill -9 of the owner', 'an owner that forgets to stop it'] as const) {
  test(`${ending} leaves no process and no folder behind`, startable, async () => {
    const owner = spawn(process.execPath, ['--input-type=module', '-e', ownerProgram(ending)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [line] = await once(createInterface(owner.stdout), 'line')
    const { pid, dataDir }: { pid: number; dataDir: string } = JSON.parse(String(line))
    if (ending === 'kill -9 of the owner') owner.kill('SIGKILL')
    if (owner.exitCode === null && owner.signalCode === null) await once(owner, 'exit')
    await eventually('the server ends', () => !isRunning(pid))
    await eventually('the folder is gone', () => !existsSync(dataDir))
  })
}

function ownerProgram(ending: string): string {
  const server = JSON.stringify(new URL('./postgres-server.ts', import.meta.url).href)
  return `
    import { startPostgres } from ${server}
    const { pid, dataDir } = await startPostgres()
    process.stdout.write(JSON.stringify({ pid, dataDir }) + '\\n')
    ${ending === 'kill -9 of the owner' ? 'setInterval(() => {}, 1000)' : ''}
  `
}

test('every test database is empty and its own', needsPostgres(), async () => {
  await using one = await createTestDatabase()
  await using other = await createTestDatabase()
  await ask(one.url, 'create table mine (value int)')
  assert.deepEqual(await ask(other.url, `select to_regclass('mine')::text`), [null])
})
