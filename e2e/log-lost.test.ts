/** Nobody can write the log any more: the house goes on, and says how much is missing. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { until } from '../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { startHouse, temporaryFolder, type House } from './harness.ts'

async function serves(house: House): Promise<void> {
  const gateway = house.endpoints['gateway'] ?? ''
  // Each is a line of the request log.
  for (let count = 0; count < 50; count += 1) await fetch(`${gateway}/nobody/${count}`)
  const lost = await until('lines are missing', async () => {
    const { text } = await house.operator.expect(200, 'GET', '/metrics')
    const found = Number(/^haus_log_lines_lost_total (\d+)$/m.exec(text)?.[1])
    return found >= 50 ? found : undefined
  })
  assert.ok(lost >= 50)
  assert.equal((await house.stop()).exitCode, 0)
  assert.equal(house.stderr(), '')
}

test('the disk of the log is full', async () => {
  const full = fs.openSync('/dev/full', 'w')
  await using house = await startHouse({ logTo: full })
  fs.closeSync(full)
  await serves(house)
})

test('whoever read the log is gone', async (t) => {
  const folder = temporaryFolder()
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }))
  const fifo = path.join(folder, 'log')
  execFileSync('mkfifo', [fifo])
  const reader = fs.openSync(fifo, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK)
  const writer = fs.openSync(fifo, 'w')
  await using house = await startHouse({ logTo: writer })
  fs.closeSync(writer)
  fs.closeSync(reader)
  await serves(house)
})
