/** A house that cannot open says why in one sentence, names the mend, and ends with a code of its own. */
import fs from 'node:fs'
import net from 'node:net'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import path from 'node:path'
import { spawnSync } from 'node:child_process'
import { test, type TestContext } from 'node:test'
import assert from 'node:assert/strict'
import { Client } from 'pg'
import { errorKinds, type ErrorCode } from '@haus/contract'
import { testCertificate } from '../services/zimmer-13-api-coordinator/src/testing/certificate.ts'
import { postgresUnavailable } from '../services/zimmer-13-api-coordinator/src/testing/postgres-server.ts'
import { createTestDatabase } from '../services/zimmer-13-api-coordinator/src/testing/postgres-database.ts'
import {
  attemptStart,
  folderWithDatabase,
  startHouse,
  temporaryFolder,
  type Ended,
  type HouseOptions,
} from './harness.ts'

/** The house waits a minute for a PostgreSQL that is starting beside it. */
const databaseDeadlineMs = 120_000
const long = process.env['HAUS_TEST_LONG'] === '1'

function folder(t: TestContext): string {
  return removedAfter(t, temporaryFolder())
}

/** For tests that are not about the very first start. */
async function preparedFolder(t: TestContext): Promise<string> {
  return removedAfter(t, await folderWithDatabase())
}

function removedAfter(t: TestContext, made: string): string {
  t.after(() => fs.rmSync(made, { recursive: true, force: true }))
  return made
}

/** One line, one sentence, for a person; no stack, and nothing that looks like one in the log. */
function assertRefused(
  ended: Ended,
  code: ErrorCode,
  ...words: readonly (string | RegExp)[]
): void {
  const { stderr, stdout } = ended
  const kind = errorKinds[code]
  const exitCode = 'exitCode' in kind ? kind.exitCode : undefined
  assert.equal(ended.exitCode, exitCode, `${stderr}\n${stdout}`)
  assert.match(stderr, /^haus: .+[.!?]\n$/, 'one line')
  assert.ok(stderr.length < 600, `too long to be read: ${stderr}`)
  assert.doesNotMatch(stderr, /\n\s+at |Error:/)
  assert.doesNotMatch(stdout, /\bat \w+.*\.ts:\d+/)
  for (const word of words) {
    const found = typeof word === 'string' ? stderr.includes(word) : word.test(stderr)
    assert.ok(found, `${stderr} does not mention ${String(word)}`)
  }
}

async function openOnce(options: HouseOptions & { dataDir: string }): Promise<void> {
  const house = await startHouse(options)
  assert.equal((await house.stop()).exitCode, 0)
}

test('a port that is taken', async (t) => {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  const ended = await attemptStart({
    dataDir: await preparedFolder(t),
    env: { HAUS_API_ADDR: `127.0.0.1:${address.port}` },
  })
  assertRefused(ended, 'address_in_use', `127.0.0.1:${address.port}`)
})

test('an address that is not of this machine', async (t) => {
  const ended = await attemptStart({
    dataDir: await preparedFolder(t),
    env: { HAUS_API_ADDR: '192.0.2.1:0', HAUS_ALLOW_PLAINTEXT: 'true' },
  })
  assertRefused(ended, 'address_unusable', '192.0.2.1')
})

test('a data folder that is a file', async (t) => {
  const dataDir = path.join(folder(t), 'data')
  fs.writeFileSync(dataDir, 'a file')
  const ended = await attemptStart({ dataDir })
  assertRefused(ended, 'data_dir_unusable', dataDir, 'not a folder', 'HAUS_DATA_DIR')
  assert.equal(fs.readFileSync(dataDir, 'utf8'), 'a file')
})

const nobody = { uid: 65_534, gid: 65_534 }

/** Root may write anywhere, so it needs somebody else; and he must be able to read the program. */
function ordinaryUser(): { account?: typeof nobody; skip?: string } {
  if (process.getuid?.() !== 0) return {}
  const program = path.join(import.meta.dirname, 'harness.ts')
  const { status } = spawnSync(process.execPath, ['--check', program], { ...nobody, cwd: '/' })
  return status === 0
    ? { account: nobody }
    : { skip: 'an ordinary user cannot read the checkout, which root started the tests in' }
}

const { account, ...maySkip } = ordinaryUser()
test('a data folder that this user may not write to', maySkip, async (t) => {
  const parent = folder(t)
  fs.chmodSync(parent, 0o755)
  const dataDir = path.join(parent, 'data')
  fs.mkdirSync(dataDir, { mode: 0o500 })
  const ended = await attemptStart({ dataDir, account })
  assertRefused(ended, 'data_dir_unusable', dataDir, 'may not write')
  assert.deepEqual(fs.readdirSync(dataDir), [])
})

test('a root key that is not the right one, and one that is lost, which no new one replaces', async (t) => {
  const dataDir = await preparedFolder(t)
  await openOnce({ dataDir })
  const keyFile = path.join(dataDir, 'root.key')
  fs.writeFileSync(keyFile, randomBytes(32).toString('base64url'))
  assertRefused(await attemptStart({ dataDir }), 'root_key_wrong', keyFile)
  fs.rmSync(keyFile)
  assertRefused(await attemptStart({ dataDir }), 'root_key_missing', keyFile)
  assert.ok(!fs.existsSync(keyFile))
})

test('a second house on the same data folder; the first one goes on', async (t) => {
  const dataDir = await preparedFolder(t)
  await using house = await startHouse({ dataDir })
  const ended = await attemptStart({ dataDir })
  assertRefused(ended, 'data_dir_locked', dataDir, String(house.pid))
  await house.operator.expectSoon(201, 'POST', '/api/services/orders/keys')
  const endpoints = JSON.parse(fs.readFileSync(path.join(dataDir, 'endpoints.json'), 'utf8'))
  assert.equal(endpoints.api, house.url)
})

test(
  'a second house on the same data folder, with PostgreSQL behind both',
  { skip: postgresUnavailable() ?? false },
  async (t) => {
    const dataDir = folder(t)
    const database = await createTestDatabase()
    t.after(() => database.drop())
    await using house = await startHouse({ dataDir, databaseUrl: database.url })
    const ended = await attemptStart({ dataDir, databaseUrl: database.url })
    assertRefused(ended, 'data_dir_locked', dataDir, String(house.pid))
    const endpoints = JSON.parse(fs.readFileSync(path.join(dataDir, 'endpoints.json'), 'utf8'))
    assert.equal(endpoints.api, house.url)
  },
)

test('TLS files that are missing, are not PEM, or do not belong together', async (t) => {
  const dataDir = folder(t)
  const file = (name: string, text: string): string => {
    const written = path.join(dataDir, name)
    fs.writeFileSync(written, text)
    return written
  }
  const cert = file('cert.pem', testCertificate.cert)
  const key = file('key.pem', testCertificate.key)
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const other = file('other.pem', privateKey.export({ type: 'pkcs8', format: 'pem' }))
  for (const [certFile, keyFile, named] of [
    [path.join(dataDir, 'absent.pem'), key, 'absent.pem'],
    [file('garbage.pem', 'garbage'), key, 'garbage.pem'],
    [cert, other, 'other.pem'],
  ] as const) {
    const ended = await attemptStart({
      dataDir,
      env: { HAUS_TLS_CERT_FILE: certFile, HAUS_TLS_KEY_FILE: keyFile },
    })
    assertRefused(ended, 'tls_invalid', named)
    assert.ok(!fs.existsSync(path.join(dataDir, 'root.key')), 'a house was made all the same')
  }
})

test('a public address without TLS', async (t) => {
  const ended = await attemptStart({ dataDir: folder(t), env: { HAUS_API_ADDR: '0.0.0.0:0' } })
  assertRefused(ended, 'plaintext_refused', 'HAUS_TLS_CERT_FILE', 'HAUS_ALLOW_PLAINTEXT')
})

test('a variable that is not known, with the one that was meant', async (t) => {
  const dataDir = folder(t)
  const ended = await attemptStart({ dataDir, env: { HAUS_DATA_DIRR: '/nowhere' } })
  assertRefused(ended, 'config_invalid', 'HAUS_DATA_DIRR', 'HAUS_DATA_DIR?')
  assert.deepEqual(fs.readdirSync(dataDir), [], 'nothing is made before the settings are right')
})

test('several wrong settings are told at once', async (t) => {
  const env = { HAUS_API_ADDR: 'nonsense', HAUS_LOG_LEVEL: 'loud', HAUS_ADVERTISE_ALLOW: 'all' }
  const ended = await attemptStart({ dataDir: folder(t), env })
  assertRefused(ended, 'config_invalid', ...Object.keys(env))
})

if (long) {
  test('a database that does not come, after waiting for it', async (t) => {
    const password = 'canary-database-password'
    const databaseUrl = `postgres://haus:${password}@127.0.0.1:1/haus`
    const ended = await attemptStart({ dataDir: folder(t), databaseUrl }, databaseDeadlineMs)
    assertRefused(ended, 'database_unreachable', '127.0.0.1')
    assert.ok(!`${ended.stderr}${ended.stdout}`.includes(password))
  })
}

const unavailable = postgresUnavailable()
test(
  'a database whose role may not make a schema, with what to grant',
  unavailable === undefined ? {} : { skip: unavailable },
  async (t) => {
    const database = await createTestDatabase()
    const role = `role_${randomBytes(8).toString('hex')}`
    const admin = new Client({ connectionString: database.url })
    await admin.connect()
    await admin.query(`create role ${role} login password 'role'`)
    t.after(async () => {
      await admin.query(`drop role ${role}`)
      await admin.end()
      await database.drop()
    })
    const url = new URL(database.url)
    url.username = role
    url.password = 'role'
    const ended = await attemptStart({ dataDir: folder(t), databaseUrl: url.href })
    assertRefused(ended, 'database_forbidden', `grant create on database ${url.pathname.slice(1)}`)
  },
)

test(
  'a database whose password is wrong, without repeating it',
  unavailable === undefined ? {} : { skip: unavailable },
  async (t) => {
    await using database = await createTestDatabase()
    const url = new URL(database.url)
    url.password = 'canary-wrong-password'
    const ended = await attemptStart({ dataDir: folder(t), databaseUrl: url.href })
    assertRefused(ended, 'database_unreachable', /password|authentication/i)
    assert.ok(!`${ended.stderr}${ended.stdout}`.includes('canary'))
  },
)
