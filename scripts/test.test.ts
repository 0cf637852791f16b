import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { test } from 'node:test'

function runTests(...args: readonly string[]) {
  const file = path.join(import.meta.dirname, 'test.ts')
  return spawnSync(process.execPath, [file, ...args], { encoding: 'utf8', timeout: 30_000 })
}

test('asked for help, the tests say how they are run and run nothing', () => {
  for (const args of [['--help'], ['--checks-only', '--help']]) {
    const { status, stdout, stderr } = runTests(...args)
    assert.equal(status, 0)
    assert.match(stdout, /^Usage: npm test -- /)
    assert.doesNotMatch(stdout, /^ok|^checks:/m)
    assert.equal(stderr, '')
  }
})

test('a misspelt option is refused with one sentence and the usage', () => {
  for (const [args, sentence] of [
    [['--grap', 'root key'], "Unknown option '--grap'."],
    [['--grep'], "Option '--grep <value>' argument missing."],
  ] as const) {
    const { status, stdout, stderr } = runTests(...args)
    assert.equal(status, 2)
    assert.ok(stderr.startsWith(`${sentence}\n\nUsage: `), stderr)
    assert.equal(stdout, '')
  }
})
