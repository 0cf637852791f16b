/** `haus run` with programs that know nothing of Haus, in three languages, against a real house. */
import assert from 'node:assert/strict'
import { spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { until as untilWithin } from '../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { spawnHaus } from './cli.ts'
import { createIdentity } from './client.ts'
import { freePort } from './free-port.ts'
import { startHouse, temporaryFolder, type House } from './harness.ts'

/** Programs start and end on a machine that runs other tests. */
const deadlineMs = 60_000
const until: typeof untilWithin = (what, holds) => untilWithin(what, holds, deadlineMs)

let house: House
let folder: string
/** Where the folders with credentials are made. */
let secrets: string
/** Of the service `orders`. */
let env: Record<string, string>
let credentialId: string

before(async () => {
  house = await startHouse()
  folder = temporaryFolder()
  const key = await createIdentity(house.operator, 'orders')
  const secretFile = path.join(folder, 'orders.key')
  fs.writeFileSync(secretFile, `${key.clientSecret}\n`, { mode: 0o600 })
  // In memory where the machine has such a place, and of this test alone.
  const inMemory = fs.existsSync('/dev/shm') ? '/dev/shm' : folder
  secrets = fs.mkdtempSync(path.join(inMemory, 'haus-e2e-'))
  env = {
    HAUS_URL: house.url,
    HAUS_CLIENT_ID: key.clientId,
    HAUS_CLIENT_SECRET_FILE: secretFile,
    HAUS_CACHE_DIR: path.join(folder, 'cache'),
    XDG_RUNTIME_DIR: secrets,
    TMPDIR: secrets,
  }
  credentialId = await createCredential()
  fs.writeFileSync(path.join(folder, 'service.cjs'), nodeService)
  fs.writeFileSync(path.join(folder, 'service.sh'), shellService, { mode: 0o755 })
})

after(async () => {
  await house[Symbol.asyncDispose]()
  for (const made of [folder, secrets]) fs.rmSync(made, { recursive: true, force: true })
})

/** A house on a starved machine may not know whether it was written: then it is there or not. */
async function createCredential(): Promise<string> {
  const answer = await house.operator.post('/api/credentials/create', {
    name: 'orders-db',
    data: { username: 'orders', password: 'canary-one' },
    services: ['orders'],
  })
  if (answer.status === 201) return answer.body.id
  if (answer.status !== 503) throw new Error(answer.text)
  const { body } = await house.operator.expectSoon(200, 'GET', '/api/credentials')
  return body.items[0]?.id ?? createCredential()
}

const nodeService = `
  const fs = require('node:fs'), http = require('node:http'), path = require('node:path')
  const file = path.join(process.env.HAUS_CREDENTIALS_DIR, 'orders-db', 'password')
  const say = (what) => console.log(what + ' ' + fs.readFileSync(file, 'utf8'))
  fs.writeFileSync('service.pid', String(process.pid))
  process.on('SIGHUP', () => say('reload'))
  process.on('SIGTERM', () => { say('stop'); process.exit(23) })
  // Whoever reads this may send a signal: the handlers are there.
  say('start')
  http.createServer((request, response) => {
    response.statusCode = request.url === '/up' ? 200 : 404
    response.end('here')
    if (request.url === '/end') process.exit(7)
  }).listen(process.env.PORT, '127.0.0.1')
`

/** Listens by means of another program, as shell scripts do. */
const shellService = `#!/bin/sh
echo "start $ORDERS_DB_PASSWORD"
exec "$1" -e 'require("node:http").createServer((q, s) => s.end()).listen(process.env.PORT)'
`

/** They die with the test, unless that is killed itself. */
const children = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

interface Running {
  readonly child: ChildProcess
  stdout(): string
  stderr(): string
  readonly ended: Promise<readonly [number | null, NodeJS.Signals | null]>
}

function run(args: readonly string[], more: Record<string, string> = {}): Running {
  const child = spawnHaus(['run', ...args], { cwd: folder, env: { ...env, ...more } })
  let stdout = ''
  let stderr = ''
  child.stdout?.on('data', (text: Buffer) => (stdout += text.toString()))
  child.stderr?.on('data', (text: Buffer) => (stderr += text.toString()))
  children.add(child)
  const ended = once(child, 'close').then(([code, signal]) => {
    children.delete(child)
    return [code, signal] as const
  })
  return { child, stdout: () => stdout, stderr: () => stderr, ended }
}

interface Instance {
  readonly port: number
  readonly url: string
  readonly state: string
  readonly version: string
  readonly healthEndpoint: string | null
  readonly leased: boolean
}

async function instances(service = 'orders'): Promise<Instance[]> {
  const { status, body } = await house.operator.get(`/api/services/${service}`)
  return status === 200 ? body.instances : []
}

/** @throws when there is none */
async function first(): Promise<[Instance]> {
  const [instance] = await instances()
  assert.ok(instance)
  return [instance]
}

const serves = () =>
  until('orders serves', async () => (await instances()).some(({ state }) => state === 'healthy'))

const programPid = (): number => Number(fs.readFileSync(path.join(folder, 'service.pid'), 'utf8'))

const leftFolders = (): string[] => fs.readdirSync(secrets)

const node = process.execPath
const asService = ['--name', 'orders', '--port', '0', '--', node, 'service.cjs']

test('a program gets its credentials, is found, hears of a new version, and leaves with its own code', async () => {
  const running = run([
    '--health',
    '/up',
    '--version',
    '1.4.0',
    '--reload-signal',
    'HUP',
    ...asService,
  ])
  await serves()
  assert.equal(running.stdout(), 'start canary-one\n', 'its output was touched')
  const [instance] = await first()
  assert.deepEqual(
    [instance.version, instance.healthEndpoint, instance.leased],
    ['1.4.0', '/up', true],
  )

  const pid = running.child.pid
  if (fs.existsSync('/proc/self/cmdline')) {
    for (const each of [pid, programPid()]) {
      const seen = ['cmdline', 'environ'].map((name) =>
        fs.readFileSync(`/proc/${each}/${name}`, 'utf8'),
      )
      assert.ok(!seen.join().includes('canary'), 'a value is in arguments or environment')
      assert.ok(!seen.join().includes('hsk_'), 'the key is in arguments or environment')
    }
  }

  await house.operator.expectSoon(201, 'POST', `/api/credentials/${credentialId}`, {
    data: { username: 'orders', password: 'canary-two' },
  })
  await until('the program reads the new one', () => running.stdout().includes('reload canary-two'))
  running.child.kill('SIGTERM')
  assert.deepEqual(await running.ended, [23, null], running.stderr())
  assert.match(running.stdout(), /stop canary-two\n$/)
  assert.deepEqual(await instances(), [])
  assert.deepEqual(leftFolders(), [])
  assert.ok(!running.stderr().includes('canary'))
})

test('the end of the program is the end, with its exit code, and the house knows at once', async () => {
  const running = run(['--quiet', ...asService])
  await serves()
  const [{ url }] = await first()
  await fetch(`${url}/end`).catch(() => {})
  assert.deepEqual(await running.ended, [7, null])
  assert.equal(running.stderr(), '')
  assert.deepEqual(await instances(), [])
  assert.deepEqual(leftFolders(), [])
})

test('a shell script is restarted with new variables, and its signal becomes 128 and its number', async () => {
  const running = run([
    ...['--name', 'orders', '--port', '0', '--env', '--restart-on-change'],
    ...['--', './service.sh', node],
  ])
  await serves()
  assert.equal(running.stdout(), 'start canary-two\n')
  await house.operator.expectSoon(201, 'POST', `/api/credentials/${credentialId}`, {
    data: { username: 'orders', password: 'canary-three' },
  })
  await until('it was restarted', () => running.stdout().includes('start canary-three'))
  await serves()
  running.child.kill('SIGTERM')
  assert.deepEqual(await running.ended, [143, null], running.stderr())
  assert.deepEqual(await instances(), [])
})

test('python serves files without knowing of any house', async (t) => {
  const { status } = spawnSync('python3', ['-c', 'import http.server'])
  if (status !== 0) return t.skip('there is no python3 on this machine')
  const running = run([
    ...['--name', 'orders', '--port', '0', '--health', '/service.cjs'],
    ...['--', 'python3', '-m', 'http.server', '{port}', '--bind', '127.0.0.1'],
  ])
  await serves()
  const { body } = await house.operator.get('/api/discover?service=orders')
  const answer = await fetch(`${body.url}/service.cjs`)
  assert.equal(await answer.text(), nodeService)
  running.child.kill('SIGTERM')
  assert.deepEqual(await running.ended, [143, null], running.stderr())
  assert.deepEqual(await instances(), [])
})

test('nobody reads what it says: the program is looked after all the same', async () => {
  const running = run(asService)
  await serves()
  running.child.stderr?.destroy()
  const [{ url }] = await first()
  // It says how the program ended, and nobody is there.
  await fetch(`${url}/end`).catch(() => {})
  assert.deepEqual(await running.ended, [7, null])
  assert.deepEqual(await instances(), [])
  assert.deepEqual(leftFolders(), [])
})

test('while the house is away a program starts with what was known last', async () => {
  const door = await openDoor(new URL(house.url))
  const port = await freePort()
  const args = ['--name', 'orders', '--port', String(port), '--', node, 'service.cjs']
  const learning = run(args, { HAUS_URL: door.url })
  await serves()
  learning.child.kill('SIGTERM')
  await learning.ended
  door.close()

  const second = run(args, { HAUS_URL: door.url })
  await until('it starts from the cache', () => second.stdout().includes('start canary'))
  await until('it says so', () => second.stderr().includes('moves in when the house is back'))
  second.child.kill('SIGTERM')
  assert.equal((await second.ended)[0], 23, second.stderr())
  assert.match(second.stderr(), /starting with what was known last/)
  assert.deepEqual(leftFolders(), [])
})

test('what keeps a program from running is one sentence with a code of its own', async () => {
  const refuse = async (args: readonly string[], code: number, why: RegExp): Promise<void> => {
    const running = run(args)
    const [exitCode] = await running.ended
    assert.equal(exitCode, code, `${args.join(' ')}: ${running.stderr()}`)
    assert.match(running.stderr(), why)
    assert.ok(!running.stderr().includes('    at '), running.stderr())
  }
  const taken = net.createServer()
  taken.listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as net.AddressInfo
  fs.writeFileSync(path.join(folder, 'plain.txt'), '')
  const common = ['--name', 'orders', '--port', '0']
  const silent = ['--', node, '-e', 'setInterval(() => {}, 1000)']
  await Promise.all([
    refuse(
      ['--name', 'orders', '--port', String(port), ...silent],
      125,
      /listens on port \d+ already/,
    ),
    refuse(
      [...common, '--start-timeout', '1', ...silent],
      125,
      /did not listen on 127\.0\.0\.1:\d+ within 1 s/,
    ),
    refuse(
      [...common, '--credentials', 'orders-db,other', ...silent],
      125,
      /other is not granted to orders/,
    ),
    refuse(['--name', 'billing', '--port', '0', ...silent], 125, /The key is not one of billing/),
    refuse([...common, '--', 'no-such-program'], 127, /was not found/),
    refuse([...common, '--', './plain.txt'], 126, /cannot be executed/),
    refuse([...common, '--', node, '-e', 'process.exit(9)'], 9, /ended before it listened/),
    refuse([...common, 'python3'], 2, /after `--`/),
    refuse(['--name', 'orders', ...silent], 2, /needs --port/),
    refuse([...common, '--client-secret-file', 'nowhere', ...silent], 125, /nowhere/),
  ])
  taken.close()
  assert.deepEqual(leftFolders(), [])
  assert.deepEqual(await instances(), [])
})

test('what a killed run leaves behind is removed by the next one', async () => {
  const killed = run(asService)
  await serves()
  const [{ port: program }] = await first()
  killed.child.kill('SIGKILL')
  process.kill(programPid(), 'SIGKILL')
  await killed.ended
  assert.equal(leftFolders().length, 1)
  // Nobody said goodbye: only the lease or the probe can tell, and neither has yet.
  assert.equal((await instances()).length, 1)

  const next = run(asService)
  await until('the next one is there', async () =>
    (await instances()).some(({ port, state }) => port !== program && state === 'healthy'),
  )
  assert.equal(leftFolders().length, 1)
  next.child.kill('SIGINT')
  await next.ended
  assert.deepEqual(leftFolders(), [])
})

/** Another address of the house, which can be closed without ending it. */
async function openDoor(target: URL): Promise<{ readonly url: string; close(): void }> {
  const open = new Set<net.Socket>()
  const server = net.createServer((incoming) => {
    const outgoing = net.connect(Number(target.port), target.hostname)
    for (const socket of [incoming, outgoing]) {
      open.add(socket)
      socket.on('error', () => socket.destroy())
    }
    incoming.pipe(outgoing).pipe(incoming)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    close: () => {
      server.close()
      for (const socket of open) socket.destroy()
    },
  }
}

test(
  'after a kill -9 the lease runs out and the instance is withheld',
  process.env['HAUS_TEST_LONG'] === '1' ? {} : { skip: 'takes 30 s: set HAUS_TEST_LONG=1' },
  async () => {
    // That of the test before, whose program and supervisor are dead.
    await until('orders is offline', async () =>
      (await instances()).every(({ state }) => state === 'offline'),
    )
  },
)
