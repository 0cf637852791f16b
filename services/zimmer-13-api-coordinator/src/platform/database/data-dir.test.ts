import assert from 'node:assert/strict'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { runChild } from '../../testing/child-program.ts'
import { DataDirLock, prepareDataDir } from './data-dir.ts'

const holder = new URL('../../testing/programs/hold-data-dir.ts', import.meta.url)

function temporaryFolder(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(tmpdir(), 'haus-data-'))
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }))
  return folder
}

function lock(t: TestContext, dataDir: string): DataDirLock {
  const held = new DataDirLock(dataDir)
  t.after(() => held.release())
  return held
}

function modeOf(file: string): string {
  return (fs.statSync(file).mode & 0o777).toString(8)
}

test('a new data folder is for its owner only', (t) => {
  const before = process.umask(0)
  t.after(() => process.umask(before))
  const dataDir = path.join(temporaryFolder(t), 'a', 'b')
  prepareDataDir(dataDir)
  assert.equal(modeOf(dataDir), '700')
  lock(t, dataDir)
  assert.equal(modeOf(path.join(dataDir, 'haus.lock')), '600')
  assert.equal(modeOf(path.join(dataDir, 'haus.pid')), '600')
})

test('a folder that was there keeps its mode', (t) => {
  const dataDir = temporaryFolder(t)
  fs.chmodSync(dataDir, 0o755)
  prepareDataDir(dataDir)
  assert.equal(modeOf(dataDir), '755')
})

test('a file in the place of the folder is refused by name', (t) => {
  const dataDir = path.join(temporaryFolder(t), 'file')
  fs.writeFileSync(dataDir, '')
  assert.throws(() => prepareDataDir(dataDir), {
    code: 'data_dir_unusable',
    message: `the data folder ${dataDir} cannot be used: it is not a folder; mend it or set HAUS_DATA_DIR to another folder`,
  })
  assert.throws(() => prepareDataDir(path.join(dataDir, 'below')), { code: 'data_dir_unusable' })
})

test(
  'a folder that may not be written is refused by name',
  process.getuid?.() === 0 ? { skip: 'root may write everywhere' } : {},
  (t) => {
    const dataDir = temporaryFolder(t)
    fs.chmodSync(dataDir, 0o500)
    assert.throws(() => prepareDataDir(dataDir), {
      code: 'data_dir_unusable',
      message: /this user may not write there/,
    })
  },
)

test('a place where nobody may make folders is refused, root or not', () => {
  assert.throws(() => prepareDataDir('/sys/haus'), { code: 'data_dir_unusable' })
})

test('what stands in the place of the lock is named, with what is wrong with it', (t) => {
  const dataDir = temporaryFolder(t)
  const file = path.join(dataDir, 'haus.lock')
  const refused = (reason: string): void =>
    assert.throws(() => new DataDirLock(dataDir), {
      code: 'data_dir_unusable',
      message: `the data folder ${dataDir} cannot be locked: ${file} ${reason}`,
    })
  fs.writeFileSync(file, 'garbage')
  refused('is not a lock that Haus has made; move it away')
  fs.rmSync(file)
  fs.mkdirSync(file)
  refused('is not a file; move it away')
  fs.rmdirSync(file)
  lock(t, dataDir)
})

test(
  'a lock of another user is named as that',
  process.getuid?.() === 0 ? {} : { skip: 'only root can act as two users' },
  (t) => {
    const dataDir = temporaryFolder(t)
    fs.chownSync(dataDir, 65_534, 65_534)
    fs.writeFileSync(path.join(dataDir, 'haus.lock'), '', { mode: 0o600 })
    process.seteuid?.(65_534)
    try {
      assert.throws(() => new DataDirLock(dataDir), {
        code: 'data_dir_unusable',
        message: /haus\.lock belongs to another user; give it to/,
      })
    } finally {
      process.seteuid?.(0)
    }
  },
)

test('a second lock in the same process is refused and does not loosen the first', async (t) => {
  const dataDir = temporaryFolder(t)
  const first = lock(t, dataDir)
  for (let attempt = 0; attempt < 3; attempt += 1) {
    assert.throws(() => new DataDirLock(dataDir), {
      code: 'data_dir_locked',
      message: new RegExp(`${dataDir} is in use by process ${process.pid} on `),
    })
  }
  const other = runChild(holder, [dataDir], { execArgv: ['--expose-gc'] })
  t.after(() => other.kill())
  await other.line(/^data_dir_locked$/)
  first.release()
  lock(t, dataDir)
})

test('a released folder can be taken again at once, and leaves no pid behind', (t) => {
  const dataDir = temporaryFolder(t)
  for (let round = 0; round < 5; round += 1) {
    const held = new DataDirLock(dataDir)
    held.release()
    held.release()
  }
  assert.equal(fs.existsSync(path.join(dataDir, 'haus.pid')), false)
})

test('an open database keeps its lock though nobody holds its handle, and kill -9 frees it', async (t) => {
  const dataDir = temporaryFolder(t)
  const child = runChild(holder, [dataDir], { execArgv: ['--expose-gc'] })
  t.after(() => child.kill())
  await child.line(/^held$/)
  assert.throws(() => new DataDirLock(dataDir), {
    code: 'data_dir_locked',
    message: new RegExp(`in use by process ${child.pid} on `),
  })
  child.kill('SIGKILL')
  await child.ended
  lock(t, dataDir)
})
