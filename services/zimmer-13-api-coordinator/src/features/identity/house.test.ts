import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, test, type TestContext } from 'node:test'
import { HausError, type ErrorCode } from '@haus/contract'
import { migrations } from '../../migrations/index.ts'
import { deriveKey, mac, systemRandom } from '../../platform/crypto/index.ts'
import { openDatabase, type DatabaseKind } from '../../platform/database/index.ts'
import { runChild } from '../../testing/child-program.ts'
import {
  databaseKinds,
  needsDatabase,
  openTestDatabase,
  quickestKind,
  reuseDatabases,
  silentLog,
  type TestDatabase,
} from '../../testing/databases.ts'
import { recordLog } from '../../testing/identity.ts'
import { ManualClock } from '../../testing/manual-clock.ts'
import type { Tables } from '../tables.ts'
import { deriveIdentityKeys, hashOperatorToken } from './identity-keys.ts'
import { openHouse, sealRowsOfBefore, type House } from './house.ts'

reuseDatabases(after)

interface Place {
  readonly database: TestDatabase<Tables>
  readonly dataDir: string
  readonly rootKeyFile: string
}

async function openPlace(t: TestContext, kind: DatabaseKind): Promise<Place> {
  const database = await openTestDatabase<Tables>(kind, { migrations })
  t.after(() => database.cleanup())
  const { dataDir } = database.location
  return { database, dataDir, rootKeyFile: path.join(dataDir, 'root.key') }
}

function open(
  {
    database,
    dataDir,
    rootKeyFile,
  }: Pick<Place, 'dataDir' | 'rootKeyFile'> & {
    database: Place['database'] | Awaited<ReturnType<typeof openDatabase<Tables>>>
  },
  log = recordLog().log,
): Promise<House> {
  return openHouse({
    database,
    dataDir,
    rootKeyFile,
    clock: new ManualClock(),
    random: systemRandom,
    log,
  })
}

async function refusal(opening: Promise<unknown>, code: ErrorCode, words: RegExp): Promise<void> {
  await assert.rejects(opening, (error) => {
    assert.ok(error instanceof HausError, String(error))
    assert.equal(error.code, code)
    assert.match(error.message, words)
    return true
  })
}

function temporaryFolder(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(tmpdir(), 'haus-identity-'))
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function assertOpenable(place: Parameters<typeof open>[0]): Promise<House> {
  const house = await open(place)
  const token = fs.readFileSync(path.join(place.dataDir, 'operator.token'), 'utf8').trim()
  const { rows } = await place.database.pool.query<{ token_hash: Buffer }>(
    'select token_hash from haus.operator_token',
  )
  assert.deepEqual(
    rows.map((row) => row.token_hash.toString('hex')),
    [hashOperatorToken(deriveIdentityKeys(house.rootKey), token).toString('hex')],
    'the file holds the one token that the database knows',
  )
  assert.deepEqual(
    fs.readdirSync(place.dataDir).filter((name) => name.startsWith('.root.key.')),
    [],
    'nothing is left beside the root key',
  )
  return house
}

for (const kind of databaseKinds) {
  const matrix = needsDatabase(kind)

  test(
    `${kind}: a new house gets its key and token once, for its owner only`,
    matrix,
    async (t) => {
      const place = await openPlace(t, kind)
      const first = await open(place)
      assert.equal(first.isNew, true)
      for (const name of ['root.key', 'operator.token']) {
        assert.equal(fs.statSync(path.join(place.dataDir, name)).mode & 0o777, 0o600, name)
      }
      const files = fs.readdirSync(place.dataDir).toSorted()
      const second = await assertOpenable(place)
      assert.equal(second.isNew, false)
      assert.equal(second.houseId, first.houseId)
      assert.deepEqual(second.rootKey.reveal(), first.rootKey.reveal())
      assert.deepEqual(fs.readdirSync(place.dataDir).toSorted(), files)
    },
  )

  test(`${kind}: the right key is needed, and says so in one sentence`, matrix, async (t) => {
    const place = await openPlace(t, kind)
    await open(place)
    const right = fs.readFileSync(place.rootKeyFile)
    fs.rmSync(place.rootKeyFile)
    await refusal(open(place), 'root_key_missing', /root\.key is missing.*backup.*replica/)
    assert.ok(!fs.existsSync(place.rootKeyFile), 'no new key is made over an old house')
    fs.writeFileSync(place.rootKeyFile, '', { mode: 0o600 })
    await refusal(open(place), 'root_key_missing', /root\.key is empty/)
    fs.writeFileSync(place.rootKeyFile, `${'ab'.repeat(32)}\n`, { mode: 0o600 })
    await refusal(open(place), 'root_key_wrong', /not the one of the house/)
    fs.writeFileSync(place.rootKeyFile, right)
    await assertOpenable(place)
  })

  test(`${kind}: a house row that was changed or taken away does not open`, matrix, async (t) => {
    const place = await openPlace(t, kind)
    await open(place)
    const { pool } = place.database
    await pool.query('update haus.house set house_id = $1', [systemRandom.id()])
    await refusal(open(place), 'root_key_wrong', /not the one/)
    await pool.query('delete from haus.house')
    await refusal(open(place), 'database_corrupt', /haus\.house.*backup/)
  })

  test(
    `${kind}: a key and a token that are there already are used, in every form`,
    matrix,
    async (t) => {
      const place = await openPlace(t, kind)
      const bytes = systemRandom.bytes(32)
      const token = `haus_op_${systemRandom.bytes(32).toString('base64url')}`
      fs.writeFileSync(path.join(place.dataDir, 'operator.token'), `${token}\n`, { mode: 0o600 })
      const forms = [
        bytes.toString('hex'),
        `${bytes.toString('base64')}\n`,
        `${bytes.toString('base64url')}\r\n`,
      ]
      const opened: House[] = []
      for (const form of forms) {
        fs.writeFileSync(place.rootKeyFile, form, { mode: 0o600 })
        opened.push(await assertOpenable(place))
      }
      assert.equal(opened[0]?.isNew, true)
      assert.equal(new Set(opened.map((house) => house.rootKey.reveal().toString('hex'))).size, 1)
      assert.equal(
        fs.readFileSync(path.join(place.dataDir, 'operator.token'), 'utf8'),
        `${token}\n`,
      )
    },
  )
}

test('what is no key is refused and left as it is', async (t) => {
  const place = await openPlace(t, quickestKind())
  for (const text of ['short', 'ab'.repeat(31), `${'ab'.repeat(32)}\n${'ab'.repeat(32)}\n`]) {
    fs.writeFileSync(place.rootKeyFile, text, { mode: 0o600 })
    await refusal(open(place), 'root_key_wrong', /one line of base64url or hex/)
    assert.equal(fs.readFileSync(place.rootKeyFile, 'utf8'), text)
  }
  fs.rmSync(place.rootKeyFile)
  fs.mkdirSync(place.rootKeyFile)
  await refusal(open(place), 'root_key_missing', /not a regular file/)
  fs.rmdirSync(place.rootKeyFile)
  runTool('mkfifo', place.rootKeyFile)
  await refusal(open(place), 'root_key_missing', /not a regular file/)
})

test('an empty key file is a placeholder of a house that does not exist yet', async (t) => {
  const place = await openPlace(t, quickestKind())
  fs.writeFileSync(place.rootKeyFile, '\n', { mode: 0o600 })
  const house = await open(place)
  assert.equal(house.isNew, true)
  await assertOpenable(place)
})

test('a key that others can read is refused, until it is ours alone', async (t) => {
  const place = await openPlace(t, quickestKind())
  await open(place)
  for (const mode of [0o640, 0o604, 0o620]) {
    fs.chmodSync(place.rootKeyFile, mode)
    await refusal(open(place), 'root_key_wrong', /mode 06\d\d.*chmod 600/)
  }
  fs.chmodSync(place.rootKeyFile, 0o400)
  await assertOpenable(place)
})

test('a key that is mounted through symbolic links, as Kubernetes does, is read', async (t) => {
  const place = await openPlace(t, quickestKind())
  const mount = temporaryFolder(t)
  fs.mkdirSync(path.join(mount, '..2026_11_23'))
  fs.writeFileSync(path.join(mount, '..2026_11_23', 'root.key'), 'ab'.repeat(32), { mode: 0o400 })
  fs.symlinkSync('..2026_11_23', path.join(mount, '..data'))
  fs.symlinkSync('..data/root.key', path.join(mount, 'root.key'))
  const mounted = { ...place, rootKeyFile: path.join(mount, 'root.key') }
  assert.equal((await open(mounted)).isNew, true)
  assert.equal((await open(mounted)).isNew, false)
  fs.rmSync(path.join(mount, '..2026_11_23', 'root.key'))
  await refusal(open(mounted), 'root_key_missing', /symbolic link to nothing/)
})

const isRoot = process.getuid?.() === 0

test(
  'a key of another user is taken as he gives it, and said to be open when it is',
  isRoot ? {} : { skip: 'only root can give a file away' },
  async (t) => {
    const place = await openPlace(t, quickestKind())
    await open(place)
    fs.chownSync(place.rootKeyFile, 12_345, 12_345)
    for (const mode of [0o444, 0o440]) {
      fs.chmodSync(place.rootKeyFile, mode)
      const { log, records } = recordLog()
      await open(place, log)
      const warned = records.filter((record) => record.level === 'warn').length
      assert.equal(warned, mode === 0o444 ? 1 : 0)
    }
  },
)

function runTool(command: string, ...args: string[]): void {
  execFileSync(command, args, { stdio: 'ignore' })
}

/** A small file system of its own, where this user may mount one. */
function mountSmall(t: TestContext, options: string): string | undefined {
  const folder = fs.mkdtempSync(path.join(tmpdir(), 'haus-identity-'))
  try {
    runTool('mount', '-t', 'tmpfs', '-o', options, 'none', folder)
  } catch {
    fs.rmdirSync(folder)
    t.skip('this user may not mount a file system')
    return undefined
  }
  t.after(() => {
    runTool('umount', folder)
    fs.rmdirSync(folder)
  })
  return folder
}

test('a full disk is said to be full, and the next start goes on', async (t) => {
  const place = await openPlace(t, quickestKind())
  const dataDir = mountSmall(t, 'size=16k')
  if (dataDir === undefined) return
  const filler = path.join(dataDir, 'filler')
  assert.throws(() => fs.writeFileSync(filler, Buffer.alloc(64 * 1024)), /ENOSPC/)
  const small = { ...place, dataDir, rootKeyFile: path.join(dataDir, 'root.key') }
  await refusal(open(small), 'disk_full', /root\.key cannot be written: free some space/)
  assert.deepEqual(fs.readdirSync(dataDir), ['filler'])
  fs.rmSync(filler)
  await assertOpenable(small)
})

test('a world-readable key on a read-only mount is taken, since nobody could mend it', async (t) => {
  const place = await openPlace(t, quickestKind())
  const mount = mountSmall(t, 'size=64k')
  if (mount === undefined) return
  fs.writeFileSync(path.join(mount, 'root.key'), 'ab'.repeat(32))
  fs.chmodSync(path.join(mount, 'root.key'), 0o644)
  const mounted = { ...place, rootKeyFile: path.join(mount, 'root.key') }
  await refusal(open(mounted), 'root_key_wrong', /chmod 600/)
  runTool('mount', '-o', 'remount,ro', mount)
  assert.equal((await open(mounted)).isNew, true)
})

test('a folder that cannot be used is named', async (t) => {
  const place = await openPlace(t, quickestKind())
  const file = path.join(temporaryFolder(t), 'file')
  fs.writeFileSync(file, '')
  await refusal(
    open({ ...place, dataDir: path.join(file, 'data') }),
    'data_dir_unusable',
    /file\/data.* cannot be/,
  )
  await refusal(
    open({ ...place, rootKeyFile: path.join(place.dataDir, 'absent', 'root.key') }),
    'data_dir_unusable',
    /absent\/root\.key cannot be written: the folder does not exist/,
  )
})

test(
  'of several processes over one database one makes the key, and the others say where it is',
  needsDatabase('postgres'),
  async (t) => {
    const place = await openPlace(t, 'postgres')
    const replicas = await Promise.all(
      Array.from({ length: 5 }, async () => {
        const dataDir = temporaryFolder(t)
        const { url } = place.database.location
        const options = { dataDir, log: silentLog, onFatal: assert.fail }
        const database = await openDatabase<Tables>({ ...options, url })
        t.after(() => database.close())
        return { database, dataDir, rootKeyFile: path.join(dataDir, 'root.key') }
      }),
    )
    const results = await Promise.allSettled(replicas.map((replica) => open(replica)))
    const winner = results.findIndex((result) => result.status === 'fulfilled')
    assert.notEqual(winner, -1)
    for (const [i, result] of results.entries()) {
      if (i === winner) continue
      assert.equal(result.status, 'rejected')
      assert.equal((result.reason as HausError).code, 'root_key_missing')
      assert.ok(!fs.existsSync(replicas[i]!.rootKeyFile), 'no wrong key is left around')
      fs.copyFileSync(replicas[winner]!.rootKeyFile, replicas[i]!.rootKeyFile)
    }
    const houses = await Promise.all(replicas.map((replica) => open(replica)))
    assert.equal(new Set(houses.map((house) => house.houseId)).size, 1)
  },
)

test(
  'several processes with one key file open one house together',
  needsDatabase('postgres'),
  async (t) => {
    const place = await openPlace(t, 'postgres')
    const shared = path.join(temporaryFolder(t), 'root.key')
    const houses = await Promise.all(
      Array.from({ length: 5 }, () => open({ ...place, rootKeyFile: shared })),
    )
    assert.equal(houses.filter((house) => house.isNew).length, 1)
    assert.equal(new Set(houses.map((house) => house.houseId)).size, 1)
    await assertOpenable({ ...place, rootKeyFile: shared })
  },
)

/** A third of the steps with every run of all tests, and each with HAUS_TEST_LONG=1: each is a process. */
test(
  'kill -9 before any step of the first start leaves a house that opens',
  needsDatabase('postgres'),
  async (t) => {
    const program = new URL('../../testing/programs/open-house.ts', import.meta.url)
    // Dozens of starts of one program: the second one finds its code compiled.
    const env = { NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] ?? temporaryFolder(t) }

    async function openAndKillBefore(step: number): Promise<{ steps: number }> {
      const place = await openPlace(t, 'postgres')
      const { url = '' } = place.database.location
      const child = runChild(program, [url, place.dataDir, String(step)], { env })
      const { signal } = await child.ended
      const house = await assertOpenable(place)
      await place.database.cleanup()
      const [, houseId, steps] = /opened (\S+) after (\d+)/.exec(child.lines.join('\n')) ?? []
      if (houseId !== undefined) assert.equal(houseId, house.houseId)
      else assert.equal(signal, 'SIGKILL')
      return { steps: Number(steps ?? step) }
    }

    const { steps } = await openAndKillBefore(Number.POSITIVE_INFINITY)
    assert.ok(steps >= 20, `only ${steps} steps were seen`)
    const every = process.env['HAUS_TEST_LONG'] === '1' ? 1 : 3
    const waiting: number[] = []
    for (let step = 1 + randomInt(every); step <= steps; step += every) waiting.push(step)
    const work = async (): Promise<void> => {
      for (let step = waiting.pop(); step !== undefined; step = waiting.pop()) {
        assert.equal((await openAndKillBefore(step)).steps, step, `killed before step ${step}`)
      }
    }
    await Promise.all([work(), work(), work()])
  },
)

for (const kind of databaseKinds) {
  test(
    `${kind}: rows of before the house sealed them are sealed once, by one process, and never again`,
    needsDatabase(kind),
    async (t) => {
      const place = await openPlace(t, kind)
      const made = await open(place)
      assert.ok(made.isSealed, 'a new house has none')
      const { rootKey, houseId } = made
      await place.database.db
        .updateTable('house')
        .set({
          key_check: mac(deriveKey(rootKey, 'haus/root-key-check/v1'), 'house', houseId),
        })
        .execute()
      const before = await open(place)
      assert.ok(!before.isSealed)
      let turns = 0
      const seal = async (): Promise<void> => void turns++
      await assert.rejects(
        sealRowsOfBefore(before, place.database.db, () => Promise.reject(new Error('halfway'))),
        /halfway/,
      )
      assert.ok(!(await open(place)).isSealed, 'what failed halfway is done again')
      await Promise.all([1, 2].map(() => sealRowsOfBefore(before, place.database.db, seal)))
      const afterwards = await open(place)
      assert.ok(afterwards.isSealed)
      await sealRowsOfBefore(afterwards, place.database.db, seal)
      assert.equal(turns, 1)
    },
  )
}
