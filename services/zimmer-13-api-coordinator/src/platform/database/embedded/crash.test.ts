import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { PGlite } from '@electric-sql/pglite'
import { amcheck } from '@electric-sql/pglite/contrib/amcheck'
import { sql } from 'kysely'
import { runChild, type ChildProgram } from '../../../testing/child-program.ts'
import { cloneDataDir } from '../../../testing/databases.ts'
import type { Migration } from '../migrate.ts'

const writer = new URL('../../../testing/programs/write-until-killed.ts', import.meta.url)
const long = process.env['HAUS_TEST_LONG'] === '1'

const migrations: Record<string, Migration> = {
  '0001-crash': {
    up: async (db) => {
      await sql`create table public.crash_head (last bigint not null)`.execute(db)
      await sql`insert into public.crash_head values (0)`.execute(db)
      await sql`create table public.crash_entry (index bigint primary key, body text not null)`.execute(
        db,
      )
      await sql`create table public.crash_row (id bigint primary key, last bigint not null)`.execute(
        db,
      )
      await sql`create index crash_row_last on public.crash_row (last)`.execute(db)
    },
  },
}

async function dataFolder(t: TestContext): Promise<string> {
  const folder = await cloneDataDir(migrations)
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** The highest number the writer was told is durable. */
function acknowledged(child: ChildProgram): number {
  const last = child.lines.findLast((line) => line.startsWith('acknowledged '))
  return Number(last?.split(' ')[1] ?? 0)
}

async function writeAndKill(
  t: TestContext,
  dataDir: string,
  disk: string,
  floor: number,
): Promise<number> {
  const child = runChild(writer, [dataDir, disk])
  t.after(() => child.kill())
  await child.line(/^acknowledged /)
  await delay(randomInt(100, long ? 4_000 : 800))
  child.kill('SIGKILL')
  await child.ended
  const last = acknowledged(child)
  assert.ok(last > floor, 'the writer made no progress')
  return last
}

/** Opens the folder with PGlite alone and looks at every row, index and page. */
async function examine(directory: string): Promise<{ last: number; rows: number }> {
  const db = await PGlite.create(directory, { extensions: { amcheck } })
  try {
    await db.exec('create extension if not exists amcheck')
    const head = await db.query<{ last: number; rows: number; lowest: number; highest: number }>(`
      select (select last from crash_head)::int as last, count(*)::int as rows,
        coalesce(min(index), 1)::int as lowest, coalesce(max(index), 0)::int as highest
      from crash_entry`)
    const found = head.rows[0]
    assert.ok(found)
    assert.deepEqual(
      [found.lowest, found.highest, found.rows],
      [1, found.last, found.last],
      'the entries have a gap or differ from the head',
    )
    await db.exec('set enable_seqscan = off')
    const byIndex = await db.query<{ n: number }>(
      'select count(*)::int as n from crash_entry where index > 0',
    )
    assert.equal(byIndex.rows[0]?.n, found.rows)
    const damaged = await db.query<{ relation: string; message: string }>(`
      select c.oid::regclass::text as relation, v.msg as message
      from pg_class c, verify_heapam(c.oid::regclass) v
      where c.relkind = 'r' and c.relpersistence = 'p'`)
    assert.deepEqual(damaged.rows, [])
    await db.query(`
      select bt_index_parent_check(c.oid, true, true)
      from pg_class c join pg_am a on a.oid = c.relam
      where a.amname = 'btree' and c.relkind = 'i' and c.relpersistence = 'p'`)
    return { last: found.last, rows: found.rows }
  } finally {
    await db.close()
  }
}

test('kill -9 under write load loses nothing acknowledged and damages nothing', async (t) => {
  const dataDir = await dataFolder(t)
  let last = 0
  for (let round = 0; round < (long ? 25 : 2); round += 1) {
    last = await writeAndKill(t, dataDir, 'honest', last)
  }
  const found = await examine(path.join(dataDir, 'database'))
  assert.ok(found.last >= last, `acknowledged ${last}, found ${found.last}`)
})

test('a power cut, played by a disk that keeps synced data only, loses nothing acknowledged', async (t) => {
  for (let round = 0; round < (long ? 12 : 1); round += 1) {
    const dataDir = await dataFolder(t)
    const last = await writeAndKill(t, dataDir, 'forgetful', 0)
    const found = await examine(path.join(dataDir, 'platter'))
    assert.ok(found.last >= last, `acknowledged ${last}, found ${found.last}`)
  }
})

test('the played power cut has teeth: without syncs everything acknowledged is lost', async (t) => {
  const dataDir = await dataFolder(t)
  const last = await writeAndKill(t, dataDir, 'deaf', 0)
  const found = await examine(path.join(dataDir, 'platter'))
  assert.ok(last > 0)
  assert.equal(found.last, 0)
})

test('a power cut on a real file system loses nothing acknowledged', canMount(), async (t) => {
  for (let round = 0; round < (long ? 6 : 1); round += 1) {
    const disk = mountImage(t)
    const prepared = await dataFolder(t)
    const dataDir = path.join(disk.mountPoint, 'data')
    // Moved onto the image and synced as a first start would leave it.
    fs.cpSync(prepared, dataDir, { recursive: true })
    execFileSync('sync', ['-f', dataDir])
    const child = runChild(writer, [dataDir])
    t.after(() => child.kill())
    await child.line(/^acknowledged /)
    await delay(randomInt(200, long ? 6_000 : 1_000))
    child.kill('SIGSTOP')
    // What the image holds now is what had reached the disk; the page cache above it is not in it.
    const seen = acknowledged(child)
    const cut = disk.copyImage()
    child.kill('SIGKILL')
    await child.ended
    const found = await examine(path.join(cut.mountPoint, 'data', 'database'))
    assert.ok(seen > 0)
    assert.ok(found.last >= seen, `acknowledged ${seen}, found ${found.last}`)
  }
})

interface MountedImage {
  readonly mountPoint: string
  /** Mounts a copy of the image as it is on the disk below, journal replayed. */
  copyImage(): MountedImage
}

function canMount(): { skip?: string } {
  if (process.getuid?.() !== 0) return { skip: 'mounting an image needs root' }
  const folder = fs.mkdtempSync('/tmp/haus-mount-')
  try {
    const image = makeImage(folder, 16)
    execFileSync('mount', ['-o', 'loop', image, path.join(folder, 'mnt')], { stdio: 'pipe' })
    execFileSync('umount', [path.join(folder, 'mnt')], { stdio: 'pipe' })
    return {}
  } catch (error) {
    return { skip: `loop mounts are not possible here: ${String(error).split('\n')[0] ?? ''}` }
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

function makeImage(folder: string, sizeMegabytes: number): string {
  const image = path.join(folder, 'disk.img')
  fs.mkdirSync(path.join(folder, 'mnt'))
  fs.closeSync(fs.openSync(image, 'w'))
  fs.truncateSync(image, sizeMegabytes * 1024 * 1024)
  execFileSync('mkfs.ext4', ['-q', '-F', image], { stdio: 'pipe' })
  return image
}

function mountImage(t: TestContext, existing?: string): MountedImage {
  const folder = fs.mkdtempSync('/tmp/haus-mount-')
  let image: string
  if (existing === undefined) {
    image = makeImage(folder, 512)
  } else {
    fs.mkdirSync(path.join(folder, 'mnt'))
    image = path.join(folder, 'disk.img')
    execFileSync('cp', ['--sparse=always', existing, image])
  }
  const mountPoint = path.join(folder, 'mnt')
  execFileSync('mount', ['-o', 'loop', image, mountPoint], { stdio: 'pipe' })
  t.after(() => {
    execFileSync('umount', ['-l', mountPoint], { stdio: 'pipe' })
    fs.rmSync(folder, { recursive: true, force: true })
  })
  return { mountPoint, copyImage: () => mountImage(t, image) }
}
