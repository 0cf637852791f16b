/** The image's health check, as the container engine runs it: a program with an exit code. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { test } from 'node:test'
import { repositoryRoot, startHouse, temporaryFolder } from './harness.ts'

const program = path.join(repositoryRoot, 'services/zimmer-13-api-coordinator/health-check.ts')

function check(dataDir: string): Promise<{ exitCode: number; stderr: string }> {
  const env = { ...process.env, HAUS_DATA_DIR: dataDir }
  return new Promise((resolve) => {
    execFile(process.execPath, [program], { env, timeout: 30_000 }, (error, _stdout, stderr) => {
      resolve({ exitCode: error === null ? 0 : Number(error.code), stderr })
    })
  })
}

test('an open house is healthy, a closed one is not', async () => {
  await using house = await startHouse()
  assert.deepEqual(await check(house.dataDir), { exitCode: 0, stderr: '' })
  await house.stop()
  const { exitCode, stderr } = await check(house.dataDir)
  assert.equal(exitCode, 1)
  assert.match(stderr, /^not ready: .*endpoints\.json/)
})

test('a house that takes the connection and never answers is not healthy', async (t) => {
  const dataDir = temporaryFolder()
  const silent = createServer(() => {})
  t.after(() => {
    silent.close()
    rmSync(dataDir, { recursive: true, force: true })
  })
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  const address = silent.address()
  const port = typeof address === 'object' ? address?.port : undefined
  writeFileSync(
    path.join(dataDir, 'endpoints.json'),
    JSON.stringify({ api: `http://127.0.0.1:${port}` }),
  )
  const { exitCode, stderr } = await check(dataDir)
  assert.equal(exitCode, 1)
  assert.match(stderr, /^not ready: .*(timeout|aborted)/i)
})
