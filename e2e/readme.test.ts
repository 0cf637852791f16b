/** The tour of the README, run as a reader runs it: in bash, beside a new house. */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { freePort } from './free-port.ts'
import { assertShown, runSteps, stepsOf, type Step } from './guide.ts'
import { repositoryRoot, startHouse, temporaryFolder } from './harness.ts'

/** Half a minute of commands on two idle cores, times four. */
const tourTimeoutMs = 120_000
/**
 * A write that takes longer than 250 ms is answered with 503, which a machine that runs other
 * tests beside this one can bring about. A reader would try again; so does the test, in a new house.
 */
const tours = 4
const tooSlow = /"code":"(writes_unavailable|write_outcome_unknown)"/

test('the tour of the README does what it shows, line by line', async () => {
  const page = readFileSync(path.join(repositoryRoot, 'README.md'), 'utf8')
  const steps = stepsOf(page, '## A tour in five minutes')
  assert.ok(steps.length > 10)
  assert.match(steps[0]?.script ?? '', /^HAUS=http:\/\/127\.0\.0\.1:8000 GATEWAY=/m)
  for (let tour = 1; !(await takeTour(steps, tour === tours)); tour++);
})

/** @returns false when the machine was too slow for the house's promises. */
async function takeTour(steps: readonly Step[], last: boolean): Promise<boolean> {
  const folder = temporaryFolder()
  try {
    const dataDir = path.join(folder, '.haus')
    mkdirSync(dataDir, { mode: 0o700 })
    await using house = await startHouse({ dataDir })
    const replacements = {
      'http://127.0.0.1:8000': house.url,
      'http://127.0.0.1:8088': house.endpoints['gateway'] ?? '',
      '3000': String(await freePort()),
      // The reader is in the clone, the test in a folder of its own.
      'npx haus': `"${path.join(repositoryRoot, 'node_modules/.bin/haus')}"`,
    }
    const { PATH, HOME } = process.env
    const env = { PATH, HOME, TZ: 'UTC' }
    const session = { cwd: folder, env, replacements, timeoutMs: tourTimeoutMs }
    const outputs = await runSteps(steps, session)
    if (!last && outputs.some((output) => tooSlow.test(output))) return false
    for (const [at, step] of steps.entries()) assertShown(step, outputs[at] ?? '', replacements)
    return true
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
