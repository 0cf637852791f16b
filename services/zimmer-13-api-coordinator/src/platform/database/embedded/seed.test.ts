import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import fs from 'node:fs'
import fsPromises from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { runChild } from '../../../testing/child-program.ts'
import { silentLog } from '../../../testing/databases.ts'
import { fatalError } from './fatal-error.ts'
import { openEmbedded } from './open.ts'
import { ensureCluster } from './seed.ts'
import { readTar, tarBlocks, tarEnd } from './tar.ts'

const firstStart = new URL('../../../testing/programs/first-start.ts', import.meta.url)
const long = process.env['HAUS_TEST_LONG'] === '1'

function temporaryFolder(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(tmpdir(), 'haus-seed-'))
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Records what happens to files, in order, through the module the code under test uses. */
function recordFiles(t: TestContext): { events: string[] } {
  const events: string[] = []
  const { open, rename, mkdir } = fsPromises
  t.mock.method(fsPromises, 'mkdir', async (...args: Parameters<typeof mkdir>) => {
    events.push(`mkdir ${String(args[0])}`)
    return mkdir(...args)
  })
  t.mock.method(fsPromises, 'rename', async (...args: Parameters<typeof rename>) => {
    events.push(`rename ${String(args[0])} ${String(args[1])}`)
    return rename(...args)
  })
  t.mock.method(fsPromises, 'open', async (...args: Parameters<typeof open>) => {
    const handle = await open(...args)
    const name = String(args[0])
    const { sync, write } = handle
    handle.sync = async () => {
      events.push(`sync ${name}`)
      return sync.call(handle)
    }
    handle.write = ((...written: unknown[]) => {
      events.push(`write ${name}`)
      return Reflect.apply(write, handle, written) as unknown
    }) as typeof write
    return handle
  })
  return { events }
}

test('a new database is on the disk to its last file and folder before it gets its name', async (t) => {
  const folder = temporaryFolder(t)
  const directory = path.join(folder, 'database')
  const { events } = recordFiles(t)
  assert.equal(await ensureCluster(directory), true)

  const renamed = events.indexOf(`rename ${directory}.new ${directory}`)
  assert.ok(renamed > 0)
  assert.deepEqual(events.slice(renamed + 1), [`sync ${folder}`], 'the parent is synced last')
  const names = fs.readdirSync(directory, { recursive: true, encoding: 'utf8' })
  assert.ok(names.length > 300)
  for (const name of ['.', ...names]) {
    const before = path.join(`${directory}.new`, name)
    const synced = events.lastIndexOf(`sync ${before}`, renamed)
    assert.ok(synced > 0, `${name} is never synced`)
    assert.ok(events.lastIndexOf(`write ${before}`) < synced, `${name} is written after its sync`)
  }
})

test('a new database is for its owner only, from the first moment', async (t) => {
  const before = process.umask(0)
  t.after(() => process.umask(before))
  const directory = path.join(temporaryFolder(t), 'database')
  const { events } = recordFiles(t)
  await ensureCluster(directory)
  assert.equal(events[0], `mkdir ${directory}.new`)
  const exposed = ['.', ...fs.readdirSync(directory, { recursive: true, encoding: 'utf8' })].filter(
    (name) => (fs.statSync(path.join(directory, name)).mode & 0o077) !== 0,
  )
  assert.deepEqual(exposed, [])
})

test('kill -9 at any moment of a first start leaves a folder that the next start opens', async (t) => {
  for (let round = 0; round < (long ? 40 : 2); round += 1) {
    const dataDir = temporaryFolder(t)
    const child = runChild(firstStart, [path.join(dataDir, 'database')])
    await child.line(/^begin$/)
    await delay(randomInt(0, 400))
    child.kill('SIGKILL')
    await child.ended
    const database = await openEmbedded({ dataDir, log: silentLog, onFatal: assert.ifError })
    const { rows } = await database.pool.query('select count(*) as n from pg_class')
    assert.ok(rows[0].n > 300)
    await database.close()
    assert.equal(fs.existsSync(path.join(dataDir, 'database.new')), false)
  }
})

test('a disk that is full at the first start is named, and the next start begins anew', async (t) => {
  const dataDir = temporaryFolder(t)
  const { open } = fsPromises
  let files = 0
  const full = t.mock.method(fsPromises, 'open', async (...args: Parameters<typeof open>) => {
    files += 1
    if (files > 100) throw Object.assign(new Error('injected by a test'), { code: 'ENOSPC' })
    return open(...args)
  })
  await assert.rejects(openEmbedded({ dataDir, log: silentLog, onFatal: assert.ifError }), {
    code: 'disk_full',
    message: `the disk that holds ${dataDir} is full: free some space`,
  })
  full.mock.restore()
  const database = await openEmbedded({ dataDir, log: silentLog, onFatal: assert.ifError })
  await database.close()
})

test('a database of another PostgreSQL version is refused by version', async (t) => {
  const dataDir = temporaryFolder(t)
  fs.mkdirSync(path.join(dataDir, 'database'))
  fs.writeFileSync(path.join(dataDir, 'database', 'PG_VERSION'), '17\n')
  await assert.rejects(openEmbedded({ dataDir, log: silentLog, onFatal: assert.ifError }), {
    code: 'database_incompatible',
    message: /was written by PostgreSQL 17 and this Haus reads 18/,
  })
})

test('a damaged PG_VERSION is not called another version', async (t) => {
  for (const text of ['', 'no number\n']) {
    const dataDir = temporaryFolder(t)
    fs.mkdirSync(path.join(dataDir, 'database'))
    fs.writeFileSync(path.join(dataDir, 'database', 'PG_VERSION'), text)
    await assert.rejects(openEmbedded({ dataDir, log: silentLog, onFatal: assert.ifError }), {
      code: 'database_corrupt',
      message: /PG_VERSION in .* is damaged: it should hold 18/,
    })
  }
})

test('too few files that may be open are named, and no backup is advised', () => {
  for (const reason of [
    'EMFILE: too many open files, open x',
    'FATAL:  could not open file "global/pg_filenode.map": No file descriptors available',
    'ENFILE',
  ]) {
    const { code, message } = fatalError(reason, '/data')
    assert.equal(code, 'data_dir_unusable')
    assert.match(message, /raise the limit of open files/)
  }
})

test('a folder of other files in the place of the database is refused and left alone', async (t) => {
  const dataDir = temporaryFolder(t)
  fs.mkdirSync(path.join(dataDir, 'database'))
  fs.writeFileSync(path.join(dataDir, 'database', 'letter.txt'), 'dear')
  await assert.rejects(openEmbedded({ dataDir, log: silentLog, onFatal: assert.ifError }), {
    code: 'database_corrupt',
    message: /PG_VERSION is missing/,
  })
  assert.deepEqual(fs.readdirSync(path.join(dataDir, 'database')), ['letter.txt'])
})

test("a damaged database is refused in PostgreSQL's own words, and its lock let go", async (t) => {
  const dataDir = temporaryFolder(t)
  await ensureCluster(path.join(dataDir, 'database'))
  fs.truncateSync(path.join(dataDir, 'database', 'global', 'pg_control'), 100)
  for (let attempt = 0; attempt < 2; attempt += 1) {
    await assert.rejects(openEmbedded({ dataDir, log: silentLog, onFatal: assert.ifError }), {
      code: 'database_corrupt',
      message: /pg_control/,
    })
  }
})

test('an archive that climbs out of its folder or holds a link is refused', async () => {
  async function* archive(...blocks: Buffer[]): AsyncGenerator<Buffer> {
    yield Buffer.concat([...blocks, tarEnd])
  }
  const names = async (...blocks: Buffer[]): Promise<string[]> => {
    const found: string[] = []
    for await (const entry of readTar(archive(...blocks))) {
      found.push(entry.name)
      if (entry.kind === 'file') for await (const piece of entry.content) found.push(String(piece))
    }
    return found
  }
  const text = Buffer.from('text')
  assert.deepEqual(await names(...tarBlocks('a', undefined), ...tarBlocks('a/b', text)), [
    'a',
    'a/b',
    'text',
  ])
  for (const name of ['../a', 'a/../../b', '/etc/passwd', 'a//b']) {
    await assert.rejects(names(...tarBlocks(name, text)), /unexpected name/, name)
  }
  const link = tarBlocks('a', text)
  link[0]?.write('2', 156)
  await assert.rejects(names(...link), /unexpected type 2/)
  await assert.rejects(
    readAll(archiveWithout(tarBlocks('a', Buffer.alloc(2_000)))),
    /ends too early/,
  )
})

async function* archiveWithout(blocks: Buffer[]): AsyncGenerator<Buffer> {
  yield Buffer.concat(blocks).subarray(0, 1_000)
}

async function readAll(source: AsyncIterable<Buffer>): Promise<void> {
  for await (const entry of readTar(source)) {
    if (entry.kind === 'file') for await (const _ of entry.content);
  }
}
