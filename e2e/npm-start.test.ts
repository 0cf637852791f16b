/** `npm start` as a person runs it: one command, a Ctrl-C that the whole group gets, and exit 0. */
import fs from 'node:fs'
import path from 'node:path'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { until } from '../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { houseEnvironment, repositoryRoot, temporaryFolder } from './harness.ts'

test('npm start opens a house, and Ctrl-C closes it with exit 0 within 5 s', async (t) => {
  const dataDir = temporaryFolder()
  t.after(() => fs.rmSync(dataDir, { recursive: true, force: true }))
  // A process group of its own, as a terminal gives it; npm passes the signal on a second time.
  const npm = spawn('npm', ['start', '--silent'], {
    cwd: repositoryRoot,
    env: houseEnvironment({ dataDir }),
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  })
  const { pid } = npm
  assert.ok(pid !== undefined)
  t.after(() => {
    if (npm.exitCode === null) process.kill(-pid, 'SIGKILL')
  })
  let output = ''
  npm.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  const endpointsFile = path.join(dataDir, 'endpoints.json')
  await until('the house is open', () => fs.existsSync(endpointsFile), 60_000)
  const { api } = JSON.parse(fs.readFileSync(endpointsFile, 'utf8'))
  const ready = await fetch(`${api}/health/ready`, { signal: AbortSignal.timeout(5_000) })
  assert.deepEqual(await ready.json(), { status: 'ready', writes: 'available' })

  const stoppingMs = performance.now()
  process.kill(-pid, 'SIGINT')
  const [exitCode] = await once(npm, 'close')
  assert.equal(exitCode, 0, output)
  assert.ok(performance.now() - stoppingMs < 5_000)
  // Not a terminal: every line is a JSON record.
  for (const line of output.trim().split('\n')) assert.equal(JSON.parse(line).name, 'zimmer-13')
})
