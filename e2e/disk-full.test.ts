/**
 * The disk fills up under a running house. While only tables cannot grow, writes are refused and
 * reads go on; when the log cannot, the house says so and ends. Everything it has acknowledged is
 * there once somebody has made room.
 */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import assert from 'node:assert/strict'
import { errorKinds } from '@haus/contract'
import { until } from '../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { startHouse, temporaryFolder } from './harness.ts'

/** A new house takes some 30 MB, and each file of the database's log 16 MB. */
const diskSize = '160m'
/** Less than a file of the log: tables can grow, and the log soon cannot. */
const roomForTablesBytes = 15 * 1024 * 1024
/** Incompressible, and below the limit of a configuration. */
const noteSizeBytes = 40_000
const servicesMax = 10
/** A house that went on would have written 80 MB. */
const writesMax = 2_000
const endDeadlineMs = 30_000

/** A small disk of its own, where this user may mount one. */
function mountDisk(t: TestContext): string | undefined {
  const folder = temporaryFolder()
  const run = (command: string, ...args: string[]): void =>
    void execFileSync(command, args, { stdio: 'ignore' })
  try {
    run('mount', '-t', 'tmpfs', '-o', `size=${diskSize},mode=0700`, 'none', folder)
  } catch {
    fs.rmdirSync(folder)
    t.skip('this user may not mount a file system')
    return undefined
  }
  t.after(() => {
    run('umount', '--lazy', folder)
    fs.rmdirSync(folder)
  })
  return folder
}

/** Leaves not a byte. */
function fill(file: string): void {
  const handle = fs.openSync(file, 'w')
  try {
    for (let sizeBytes = 1024 * 1024; sizeBytes >= 1; sizeBytes = Math.floor(sizeBytes / 4)) {
      const block = Buffer.alloc(sizeBytes, 1)
      try {
        while (fs.writeSync(handle, block) > 0);
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC')
      }
    }
  } finally {
    fs.closeSync(handle)
  }
}

test('the disk fills up: reads go on, then the house ends with one sentence, and what it acknowledged is there afterwards', async (t) => {
  const disk = mountDisk(t)
  if (disk === undefined) return
  const dataDir = path.join(disk, 'data')
  const filler = path.join(disk, 'filler')
  const acknowledged = new Map<string, { version: number; note: string }>()
  {
    await using house = await startHouse({ dataDir })
    const target = (n: number): string => `/api/services/service-${n % servicesMax}/config`
    const put = async (n: number): Promise<number | undefined> => {
      const note = randomBytes(noteSizeBytes).toString('base64')
      const answer = await house.operator
        .request('PUT', target(n), { body: { data: { note } } })
        .catch(() => undefined)
      if (answer?.status === 200)
        acknowledged.set(target(n), { version: answer.body.version, note })
      else if (answer !== undefined) assert.equal(answer.status, 503, answer.text)
      return answer?.status
    }

    fill(filler)
    // On a busy machine the database may not say so within the time of a write.
    const refused = await until('a write is refused for certain', async () => {
      const answer = await house.operator.request('PUT', target(0), {
        body: { data: { note: randomBytes(noteSizeBytes).toString('base64') } },
      })
      assert.equal(answer.status, 503, answer.text)
      return answer.body.code === 'write_outcome_unknown' ? undefined : answer
    })
    assert.match(refused.body.detail, /Nothing was written: .*its disk is full/)
    assert.equal((await house.operator.get(target(0))).body.version, 0)

    fs.truncateSync(filler, fs.statSync(filler).size - roomForTablesBytes)
    await until('it takes writes again, by itself', async () => (await put(0)) === 200, 30_000)
    const ended = new AbortController()
    void house.ended.then(() => ended.abort())
    for (let n = 0; n < writesMax && !ended.signal.aborted; n++) await put(n)
    await until('it has ended', () => ended.signal.aborted, endDeadlineMs)
    const { exitCode, signal, stderr } = await house.ended
    assert.equal(signal, null, 'it ended by itself')
    assert.equal(exitCode, errorKinds.disk_full.exitCode, stderr)
    assert.match(stderr, /^haus: [^\n]+\.\n$/, 'one sentence')
    assert.ok(stderr.includes(dataDir) && stderr.includes('is full'), stderr)
  }

  fs.rmSync(filler)
  await using house = await startHouse({ dataDir })
  for (const [target, { version, note }] of acknowledged) {
    const { body } = await house.operator.expect(200, 'GET', target)
    assert.ok(body.version >= version, `${target}: ${body.version} instead of ${version}`)
    if (body.version === version) assert.equal(body.data.note, note)
  }
  await house.operator.expectSoon(201, 'POST', '/api/services/orders/keys')
})
