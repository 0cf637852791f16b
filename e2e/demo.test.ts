/** The demo as a whole, shorter than a person sees it, so that it is never found broken. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import path from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { inheritedCompilerFlags } from '../services/zimmer-13-api-coordinator/src/testing/child-program.ts'
import { repositoryRoot } from './harness.ts'

/** Twenty seconds on two idle cores. */
const demoTimeoutMs = 180_000

test('the demo shows the main job end to end', async () => {
  const main = path.join(repositoryRoot, 'demo/main.ts')
  const args = [
    ...inheritedCompilerFlags(),
    main,
    '--json',
    '--busy',
    '--clients',
    '20',
    '--seconds',
    '2',
  ]
  const options = { cwd: repositoryRoot, timeout: demoTimeoutMs }
  const { stdout } = await promisify(execFile)(process.execPath, args, options).catch(
    ({ stdout: told, message }: { stdout: string; message: string }) =>
      assert.fail(`${message}\n${told}`),
  )
  const { passed, steps } = JSON.parse(stdout) as { passed: boolean; steps: unknown[] }
  assert.equal(passed, true)
  assert.equal(steps.length, 11)
})
