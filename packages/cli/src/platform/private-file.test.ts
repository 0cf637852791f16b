import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { preparePrivateFile } from './private-file.ts'

function folder(t: TestContext): string {
  const made = mkdtempSync(path.join(tmpdir(), 'haus-cli-'))
  t.after(() => rmSync(made, { recursive: true, force: true }))
  return made
}

test('a file is private and whole, and nothing else is left', async (t) => {
  const file = path.join(folder(t), 'orders.key')
  const pending = await preparePrivateFile(file)
  assert.equal(await pending.place('secret\n', { replace: false }), true)
  await pending.discard()
  assert.equal(readFileSync(file, 'utf8'), 'secret\n')
  assert.equal(statSync(file).mode & 0o777, 0o600)
  assert.deepEqual(readdirSync(path.dirname(file)), ['orders.key'])
})

test('a file that is there is never replaced unless that is asked for', async (t) => {
  const file = path.join(folder(t), 'orders.key')
  writeFileSync(file, 'old', { mode: 0o644 })
  const first = await preparePrivateFile(file)
  assert.equal(await first.place('new', { replace: false }), false)
  await first.discard()
  assert.equal(readFileSync(file, 'utf8'), 'old')

  const second = await preparePrivateFile(file)
  assert.equal(await second.place('new', { replace: true }), true)
  assert.equal(readFileSync(file, 'utf8'), 'new')
  assert.equal(statSync(file).mode & 0o777, 0o600)
  assert.deepEqual(readdirSync(path.dirname(file)), ['orders.key'])
})

test('what is given up leaves nothing behind', async (t) => {
  const file = path.join(folder(t), 'orders.key')
  await (await preparePrivateFile(file)).discard()
  assert.deepEqual(readdirSync(path.dirname(file)), [])
})
