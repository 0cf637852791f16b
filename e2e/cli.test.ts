/** Every command of `haus` against a real house: text, JSON, exit codes, and no secret anywhere. */
import assert from 'node:assert/strict'
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { stripVTControlCharacters } from 'node:util'
import { exitCodes } from '../packages/cli/src/failure.ts'
import { until } from '../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { cliEnvironment, runHaus, spawnHaus, type Ran, type RunOptions } from './cli.ts'
import {
  houseEnvironment,
  repositoryRoot,
  startHouse,
  temporaryFolder,
  type House,
} from './harness.ts'

const canary = 'canary-hunter2-correct-horse'

let house: House
let folder: string
let env: Record<string, string>
/** Something that is registered and alive. */
const listener = http.createServer((_, response) => response.end('ok'))
let port: number
/** One that a test has left behind. */
let credential: string
/** Everything any command has printed, but `reveal`. */
let printed = ''

before(async () => {
  house = await startHouse()
  folder = temporaryFolder()
  env = { HAUS_DATA_DIR: house.dataDir }
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  port = (listener.address() as AddressInfo).port
  await house.operator.expectSoon(201, 'POST', '/api/services/register', {
    name: 'orders',
    version: '1.4.0',
    port,
    address: '127.0.0.1',
    healthEndpoint: '/up',
    tags: ['http'],
    endpoints: [{ path: '/orders', methods: ['GET'] }],
  })
  await until('orders is healthy', async () => {
    const { body } = await house.operator.get('/api/services/orders/health')
    return body.health === 'healthy'
  })
})

after(async () => {
  listener.closeAllConnections()
  listener.close()
  await house[Symbol.asyncDispose]()
  fs.rmSync(folder, { recursive: true, force: true })
})

/** The house said that it cannot now: on a starved machine it promises to. */
class Busy extends Error {}

/**
 * A test whose commands write: what was busy, or may have been written, is done again from the
 * beginning under other names, which end in `n`.
 */
function scenario(name: string, run: (n: string) => Promise<void>): void {
  test(name, async () => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await run(String(attempt))
        return
      } catch (error) {
        if (!(error instanceof Busy) || attempt === 10) throw error
        await delay(200)
      }
    }
  })
}

async function haus(line: string, options: RunOptions = {}): Promise<Ran> {
  const ran = await runHaus(line.split(' '), {
    cwd: folder,
    ...options,
    env: { ...env, ...options.env },
  })
  if (!line.includes('reveal')) printed += ran.stdout + ran.stderr
  if (ran.exitCode === exitCodes.unavailable) throw new Busy(ran.stderr)
  return ran
}

/** @returns what it printed */
async function ok(line: string, options?: RunOptions): Promise<string> {
  const { exitCode, stdout, stderr } = await haus(line, options)
  assert.equal(exitCode, 0, `haus ${line}: ${stdout}${stderr}`)
  return stdout
}

async function json(line: string, options?: RunOptions) {
  return JSON.parse(await ok(`${line} --json`, options))
}

test('status shows a house in which all is well', async () => {
  const text = await ok('status')
  assert.match(text, /^Haus 0\.1\.0 at http:\/\/127\.0\.0\.1:\d+ is ready\n/)
  assert.match(text, /Services +1, 1 healthy/)
  const all = await json('status')
  assert.equal(all.ready.writes, 'available')
  assert.equal(all.services[0].service, 'orders')
  assert.equal(all.gateway.url, house.endpoints['gateway'])
  assert.match(text, /Gateway +http:\/\/127\.0\.0\.1:\d+ and \*\.haus\.localhost/)
})

test('services are listed and shown', async () => {
  const list = await ok('services')
  assert.match(list, /^NAME +HEALTH +USABLE/)
  assert.match(list, /^orders +healthy +1\/1 +- +http/m)
  const one = await ok('services orders')
  assert.match(one, /^orders is healthy/)
  assert.match(one, new RegExp(`127\\.0\\.0\\.1:${port} +healthy +.*ms +(100 %|-) +100 +1\\.4\\.0`))
  const [answer, page] = await Promise.all([json('services show orders'), json('services list')])
  assert.deepEqual(answer, (await house.operator.get('/api/services/orders')).body)
  assert.equal(page.nextCursor, null)
  assert.ok(page.items.some(({ name }: { name: string }) => name === 'orders'))
})

scenario('an instance is drained, weighed, maintained and given back', async () => {
  const state = async (): Promise<string> =>
    (await house.operator.get('/api/services/orders')).body.instances[0].state
  assert.match(await ok('services drain orders'), /orders 127\.0\.0\.1:\d+ is draining/)
  assert.equal(await state(), 'draining')
  await ok(`services undrain orders 127.0.0.1:${port}`)
  await ok('services maintenance orders on')
  assert.equal(await state(), 'maintenance')
  await ok('services maintenance orders off')
  const { items } = await json('services weight orders 50')
  assert.equal(items[0].weight, 50)
  await ok(`services weight orders 100 ${items[0].id.slice(-12)}`)
  await until('orders is healthy again', async () => (await state()) === 'healthy')
  const none = await haus('services drain orders 10.0.0.1:1')
  assert.equal(none.exitCode, 5)
  assert.match(none.stderr, new RegExp(`It has 127\\.0\\.0\\.1:${port}`))
})

scenario('checks, callers and aliases are shown and set', async () => {
  assert.match(await ok('services checks orders'), /^WHEN +OUTCOME +LATENCY +REASON\n.*passed/)
  assert.equal(await ok('services callers orders shop'), 'orders may be called by shop\n')
  assert.match(await ok('services orders'), /Callers +shop/)
  assert.match(await ok('services callers orders --nobody'), /by nobody/)
  assert.equal((await json('services callers orders --everybody')).callers, null)
  assert.equal((await haus('services callers orders')).exitCode, 2)
  assert.match(await ok('services alias orders zimmer-21'), /orders is also zimmer-21/)
  assert.equal((await json('discover zimmer-21')).service, 'orders')
  await ok('services alias orders --none')
})

scenario('a route is published, works without a token, and is withdrawn', async (n) => {
  const at = (target: string): Promise<number> =>
    fetch(`${house.endpoints['gateway']}${target}`).then(({ status }) => status)
  const shop = `/shop-${n}`
  if (n === '1') assert.match((await haus('routes')).stderr, /No route is published/)
  assert.notEqual(await at(shop), 200)
  const added = await ok(`routes add orders ${shop} --method get --method HEAD --strip-prefix`)
  assert.match(added, /^\/shop-\d+ leads to orders, for everybody\n/)
  await until('it leads there', async () => (await at(shop)) === 200)
  const id = (await json('routes')).items.at(-1).id
  assert.match(await ok('routes list'), /^any +\/shop-\d+ +GET,HEAD +orders +stripped/m)
  const hosted = await json(`routes add orders / --host shop-${n}.example`)
  assert.equal(hosted.host, `shop-${n}.example`)
  assert.equal((await haus(`routes add orders / --host shop-${n}.example`)).exitCode, 6)
  assert.equal((await haus('routes add orders shop')).exitCode, 2)
  assert.equal((await haus('routes add orders /x --method FETCH')).exitCode, 2)
  const unknown = await haus(`routes rm /shup-${n}`)
  assert.deepEqual([unknown.exitCode, /Did you mean \/shop-/.test(unknown.stderr)], [5, true])
  await ok(`routes rm shop-${n}.example/ --yes`)
  await ok(`routes rm ${id.slice(-12)} --yes`)
  await until('it is public no more', async () => (await at(shop)) !== 200)
})

test('discover gives the pick, for people, programs and shells', async () => {
  const url = `http://127.0.0.1:${port}`
  assert.match(await ok('discover orders'), new RegExp(`Pick +${url}\n`))
  assert.equal(await ok('discover orders --pick'), `${url}\n`)
  assert.equal((await json('discover orders --tag http')).url, url)
  assert.equal((await haus('discover orders --tag other')).exitCode, 1)
  const unknown = await haus('discover ordres')
  assert.equal(unknown.exitCode, 5)
  assert.match(unknown.stderr, /There is no service "ordres"\.\nDid you mean orders\?/)
})

scenario(
  `credentials are created, changed, granted, revealed and deleted, and never printed`,
  async (n) => {
    const [db, mail, shop] = [`orders-db-${n}`, `mail-${n}`, `shop-${n}`]
    const created = await ok(`credentials create ${db} username password --service orders`, {
      input: `orders\n${canary}-1\n`,
    })
    assert.match(created, /orders-db-\d+ created\n +Version +1\n +Services +orders/)

    // One value changes, the other one stays.
    await ok(`credentials set ${db} password --expires 30d`, { input: `${canary}-2\n` })
    const revealed = await json(`credentials reveal ${db} --print`)
    assert.deepEqual(revealed.data, { username: 'orders', password: `${canary}-2` })
    assert.equal(revealed.version, 2)
    const old = await ok(`credentials reveal ${db} --version 1 --key password --print`)
    assert.equal(old, `${canary}-1`)

    const lost = await haus(`credentials set ${db} password --cas 1`, { input: 'x\n' })
    assert.equal(lost.exitCode, 6)
    await ok(`credentials set ${db} --description words --expires never`)
    await ok(`credentials grant ${db} billing ${shop}`)
    await ok(`credentials ungrant ${db} billing`)
    const more = ['a', 'b', 'c', 'd'].map((letter) => `${letter}-${n}`)
    await Promise.all(more.map((service) => ok(`credentials grant ${db} ${service}`)))
    await ok(`credentials ungrant ${db} ${more.join(' ')}`)
    const shown = await json(`credentials show ${db}`)
    assert.deepEqual(shown.services, ['orders', shop])
    assert.deepEqual([shown.version, shown.expiresAt, shown.description], [2, null, 'words'])

    const file = path.join(folder, 'values.json')
    fs.writeFileSync(file, JSON.stringify({ token: `${canary}-3` }))
    fs.writeFileSync(path.join(folder, 'server.pem'), `${canary}\nlines\n`)
    await ok(`credentials create ${mail} --from values.json --file pem=server.pem`)
    await ok(`credentials create env-${n} --from -`, {
      input: `# mail\nHOST=a\nPASSWORD='${canary}'\n`,
    })
    const both = await json(`credentials reveal ${mail} --print`)
    assert.deepEqual(both.data, { pem: `${canary}\nlines\n`, token: `${canary}-3` })
    await ok(`credentials set ${mail} --replace --from values.json`)
    assert.deepEqual((await json(`credentials show ${mail}`)).keys, ['token'])

    const list = await ok('credentials')
    assert.match(list, /^env-\d+ +1 +- +HOST, PASSWORD/m)
    assert.match(list, /^orders-db-\d+ +2 +orders, shop-\d+ +/m)
    assert.equal((await json(`credentials list --service ${shop}`)).items.length, 1)

    const out = path.join(folder, `revealed-${n}`)
    await ok(`credentials reveal ${mail} --out revealed-${n}`)
    assert.equal(fs.readFileSync(out, 'utf8'), `token=${canary}-3\n`)
    assert.equal(fs.statSync(out).mode & 0o777, 0o600)
    assert.equal((await haus(`credentials reveal ${mail} --out revealed-${n}`)).exitCode, 6)

    await ok(`credentials rm ${mail} --yes`)
    const missing = await haus(`credentials show mial-${n}`)
    assert.equal(missing.exitCode, 5)
    assert.ok(!printed.includes(canary), 'a value was printed')
    credential = db
  },
)

test('values are refused without being repeated, and nothing is written', async () => {
  const refuse = async (line: string, input: string, why: RegExp): Promise<void> => {
    const { exitCode, stdout, stderr } = await haus(line, { input })
    assert.equal(exitCode, 2, `${line}: ${stdout}${stderr}`)
    assert.match(stderr, why)
    assert.ok(!stderr.includes(canary), line)
  }
  await Promise.all([
    refuse('credentials create no', '', /at least one value/),
    refuse('credentials create no a b', `${canary}\n`, /has 1 lines, and 2 values/),
    refuse('credentials create no --from -', `{"a": ${canary}`, /not valid JSON/),
    refuse('credentials create no --from -', `{"a": 12}`, /The value of a is not text/),
    refuse(`credentials create no --file ${canary}`, '', /--file is KEY=FILE/),
    refuse('credentials create no a --file a=/dev/null', `${canary}\n`, /given twice/),
    refuse(`credentials create no password=${canary}`, '', /A KEY is the name of a value/),
    refuse('credentials create no a --expires soon', `${canary}\n`, /--expires must be/),
    refuse(`credentials reveal ${credential}`, '', /not a terminal/),
    refuse(`credentials rm ${credential}`, '', /there is no terminal to ask/),
    refuse('services rm orders', '', /there is no terminal to ask/),
  ])
  const missing = await haus('credentials create no --from nowhere.json')
  assert.equal(missing.exitCode, 5)
  assert.equal((await haus('credentials show no')).exitCode, 5)
})

scenario('a key goes into a private file, works, is listed and is revoked', async (n) => {
  const name = `keys-${n}`
  const lines = await ok(`token issue ${name} --out ${name}.key`)
  const file = path.join(folder, `${name}.key`)
  const secret = fs.readFileSync(file, 'utf8').trim()
  assert.equal(fs.statSync(file).mode & 0o777, 0o600)
  assert.ok(!printed.includes(secret))
  const own = Object.fromEntries(
    lines
      .trim()
      .split('\n')
      .map((line) => line.split('=')),
  )
  assert.equal(own['HAUS_CLIENT_SECRET_FILE'], file)

  // The lines are all that a service needs.
  const asService: RunOptions = { env: { ...own, HAUS_DATA_DIR: '/nowhere' } }
  assert.equal((await json('discover orders', asService)).service, 'orders')
  const denied = await haus('credentials', asService)
  assert.equal(denied.exitCode, 4)
  assert.match(denied.stderr, /This is for operators/)
  const status = await haus('status', asService)
  assert.equal(status.exitCode, 0, status.stderr)

  const again = await haus(`token issue ${name} --out ${name}.key`)
  assert.equal(again.exitCode, 6)
  assert.match(again.stderr, /--force/)
  assert.equal(fs.readFileSync(file, 'utf8').trim(), secret, 'the key in use was replaced')
  assert.equal((await haus(`token issue ${name} --out nowhere/orders.key`)).exitCode, 5)
  const { items } = await json(`token list ${name}`)
  assert.equal(items.length, 1, 'a refused issue left a key behind')

  const forced = await json(`token issue ${name} --out ${name}.key --force`)
  assert.equal(forced.clientSecretFile, file)
  assert.equal(forced.clientSecret, undefined)
  await ok(`token revoke ${name} ${items[0].clientId} --yes`)
  const dead = await haus('discover orders', asService)
  assert.equal(dead.exitCode, 4)
  assert.match(await ok(`token list ${name}`), /live.*\n.*revoked|revoked.*\n.*live/)
  for (const left of fs.readdirSync(folder)) assert.doesNotMatch(left, /\.tmp$/)
})

scenario('the audit is read with filters, to its end, and followed', async (n) => {
  const page = await json('audit --action createServiceKey --actor operator --since 1h')
  assert.ok(page.items.length >= 2)
  assert.equal((await json('audit --limit 1')).items.length, 1)
  assert.match(await ok('audit --limit 3'), /^WHEN +WHO +ACTION/)
  assert.equal((await json('audit --since 2020-01-01 --limit 100000')).nextCursor, null)
  assert.equal((await haus('audit --since yesterday')).exitCode, 2)

  const follower = spawnHaus(['audit', '--follow', '--json', '--action', 'updateCredential'], {
    env,
  })
  let seen = ''
  follower.stdout?.on('data', (text: Buffer) => (seen += text.toString()))
  await until('what was there is shown', () => seen.includes('updateCredential'))
  const shownBefore = seen.length
  await ok(`credentials set ${credential} --description followed-${n}`)
  await until('what happens is shown', () => seen.length > shownBefore)
  follower.kill('SIGINT')
  const [, signal] = await once(follower, 'close')
  assert.equal(signal, 'SIGINT')
  const ids = seen
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line).id)
  assert.deepEqual(
    ids,
    ids.toSorted((a, b) => a - b),
  )
  assert.equal(new Set(ids).size, ids.length)
})

test('each kind of failure has its exit code, a sentence and a next step', async () => {
  const away = await haus('status --url http://127.0.0.1:1 --token-file x')
  assert.equal(away.exitCode, 3)
  assert.equal(
    away.stderr,
    'haus: The house does not answer at http://127.0.0.1:1.\nStart it with `haus up`, or name another with --url.\n',
  )
  const nowhere = await haus('services', { env: { HAUS_DATA_DIR: folder } })
  assert.equal(nowhere.exitCode, 3)
  assert.match(nowhere.stderr, /No house is open here: .*\n.*haus up/)
  const other = await haus(`status --url http://127.0.0.1:${port} --token-file x`)
  assert.equal(other.exitCode, 3)
  assert.match(other.stderr, /is not a house/)

  fs.writeFileSync(path.join(folder, 'wrong'), 'not-a-token\n', { mode: 0o600 })
  fs.writeFileSync(path.join(folder, 'open'), 'not-a-token\n', { mode: 0o644 })
  const wrong = await haus('services --token-file wrong')
  assert.equal(wrong.exitCode, 4)
  assert.match(wrong.stderr, /is not one of the house/)
  const open = await haus('services --token-file open')
  assert.equal(open.exitCode, 4)
  assert.match(open.stderr, /chmod 600/)
  const mute = await haus('services --url http://127.0.0.2:1')
  assert.equal(mute.exitCode, 4)
  assert.match(mute.stderr, /only sent to the house of that folder/)

  const asJson = await haus('discover nobody --json')
  assert.equal(asJson.stdout, '')
  const told = JSON.parse(asJson.stderr)
  assert.deepEqual([told.code, told.exitCode], ['service_not_found', 5])
  assert.equal((await haus('frobnicate')).exitCode, 2)
  assert.equal((await haus('token')).exitCode, 2)
})

test('help is there for every command, and the version', async () => {
  assert.match(await ok('help'), /Commands:\n +up/)
  assert.match(await ok('help credentials create'), /haus credentials create NAME \[KEY\.\.\.\]/)
  assert.match(await ok('audit --help'), /--follow/)
  assert.equal(await ok('--version'), '0.1.0\n')
})

test('no token and no value is in the arguments or the environment of a command', async (t) => {
  if (!fs.existsSync('/proc/self/cmdline')) return t.skip('this system has no /proc')
  const child = spawnHaus(['credentials', 'create', 'seen', 'password'], { env, cwd: folder })
  const read = (name: string): string => fs.readFileSync(`/proc/${child.pid}/${name}`, 'utf8')
  child.stdin?.write(`${canary}\n`)
  await until('it runs', () => read('cmdline').includes('credentials'))
  const [operator] = [fs.readFileSync(path.join(house.dataDir, 'operator.token'), 'utf8').trim()]
  for (const secret of [canary, operator]) {
    assert.ok(!read('cmdline').includes(secret))
    assert.ok(!read('environ').includes(secret))
  }
  child.stdin?.end()
  const [exitCode] = await once(child, 'close')
  assert.ok(exitCode === exitCodes.ok || exitCode === exitCodes.unavailable)
})

scenario('on a terminal there are colours, a cut that fits, and questions', async (n) => {
  const wide = await haus('services', { columns: 120 })
  assert.ok(wide.stdout.includes('\u001b[32m● healthy'), wide.stdout)
  const narrow = await haus('credentials', { columns: 50 })
  const lines = stripVTControlCharacters(narrow.stdout).split('\n')
  assert.ok(
    lines.every((line) => line.length <= 80),
    narrow.stdout,
  )
  const no = await haus('services rm orders', { columns: 80, input: 'n\r' })
  assert.equal(no.exitCode, 1)
  assert.match(no.stderr, /Remove orders with its 1 instance\? \[y\/N\] n\n.*Nothing was done/)
  const asked = await haus(`credentials create asked-${n} password`, {
    columns: 80,
    input: `${canary}\r`,
  })
  assert.equal(asked.exitCode, 0)
  assert.match(asked.stderr, /^password \(not shown\): \n$/)
  const shown = await haus(`credentials reveal asked-${n}`, { columns: 80 })
  assert.equal(shown.stdout, `password=${canary}\n`)
})

test('haus up becomes the house: its signals and exit codes are its own', async () => {
  const main = path.join(repositoryRoot, 'packages/cli/bin/haus')
  const dataDir = path.join(folder, 'another house')
  const up = (options: { readonly dataDir: string }): ChildProcess =>
    spawn(main, ['up'], {
      cwd: folder,
      env: houseEnvironment(options),
      stdio: ['ignore', 'ignore', 'pipe'],
    })
  const refused = up({ dataDir: house.dataDir })
  let complaint = ''
  refused.stderr?.on('data', (text: Buffer) => (complaint += text.toString()))
  const opened = up({ dataDir })
  const ended = once(opened, 'close')
  const endpoints = path.join(dataDir, 'endpoints.json')
  await until('it is open', () => fs.existsSync(endpoints), 60_000)
  assert.equal((await haus('status', { env: { HAUS_DATA_DIR: dataDir } })).exitCode, 0)
  opened.kill('SIGTERM')
  assert.deepEqual(await ended, [0, null])
  if (refused.exitCode === null) await once(refused, 'close')
  assert.deepEqual([refused.exitCode, refused.signalCode], [75, null])
  assert.match(complaint, /is in use by process/)
})

test('a reader that has read enough ends the command without a complaint', () => {
  const main = path.join(repositoryRoot, 'packages/cli/bin/haus')
  const { status, stderr } = spawnSync(
    'bash',
    ['-c', `set -o pipefail; "${main}" help | head -1`],
    {
      env: cliEnvironment(env),
      encoding: 'utf8',
    },
  )
  assert.deepEqual([status, stderr], [0, ''])
})

test('bash completes commands, options, names of the house and files', () => {
  const bin = path.join(repositoryRoot, 'packages/cli/bin')
  fs.writeFileSync(path.join(folder, 'some.token'), '')
  const lines = [
    ['st', 'status'],
    ['credentials rev', 'reveal'],
    ['discover ord', 'orders'],
    ['status --token-file some', 'some.token'],
  ]
  const script = `
    source <(haus completion bash)
    complete -p haus
    while read -r -a COMP_WORDS; do
      COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
      _haus
      echo "\${COMPREPLY[@]}"
    done`
  const { stdout, stderr } = spawnSync('bash', ['-c', script], {
    env: { ...cliEnvironment(env), PATH: `${bin}:${process.env['PATH']}` },
    cwd: folder,
    input: lines.map(([line]) => `haus ${line}\n`).join(''),
    encoding: 'utf8',
  })
  const expected = ['complete -F _haus haus', ...lines.map(([, word]) => word)]
  assert.deepEqual(stdout.trim().split('\n'), expected, stderr)
})

scenario('status says what is not well and why, with exit code 1', async () => {
  // Port 1 of this machine: nobody listens there.
  await house.operator.expectSoon(201, 'POST', '/api/services/register', {
    name: 'broken',
    version: '1',
    port: 1,
    address: '127.0.0.1',
  })
  await until('broken is offline', async () => {
    const { body } = await house.operator.get('/api/services/broken/health')
    return body.health === 'offline'
  })
  const unwell = await haus('status')
  assert.equal(unwell.exitCode, 1, unwell.stderr)
  assert.match(unwell.stdout, /broken +127\.0\.0\.1:1 +(offline|suspect) +.*refused/i)
  const gone = await haus('discover broken')
  assert.equal(gone.exitCode, 1)
  assert.match(gone.stderr, /No instance of broken can serve now/)
  await ok('services rm broken --yes')
  const movedOut = await haus('status')
  assert.match(movedOut.stdout, /Services .*, 1 without instances\n/)
  assert.doesNotMatch(movedOut.stdout, /broken/)
  assert.equal((await haus('services rm broken 127.0.0.1:1 --forget --yes')).exitCode, 2)
  await ok('services rm broken --forget --yes')
  assert.doesNotMatch((await haus('services')).stdout, /broken/)
  assert.doesNotMatch((await haus('status')).stdout, /without instances/)
})
