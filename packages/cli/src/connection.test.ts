import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { findConnection } from './connection.ts'
import { exitCodes, Failure } from './failure.ts'

function dataDir(t: TestContext, endpoints: unknown): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'haus-cli-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  if (endpoints !== undefined) {
    writeFileSync(path.join(folder, 'endpoints.json'), JSON.stringify(endpoints))
  }
  return folder
}

function find(
  env: Record<string, string>,
  options: { url?: string; tokenFile?: string; cwd?: string } = {},
) {
  const { cwd = '/', url, tokenFile } = options
  return findConnection({ env, cwd, url, tokenFile })
}

function refusal(run: () => unknown): Failure {
  try {
    run()
  } catch (error) {
    assert.ok(error instanceof Failure)
    return error
  }
  throw new Error('it was taken')
}

test('without a word it is the house of the data folder, and its operator', (t) => {
  const folder = dataDir(t, { api: 'http://127.0.0.1:8000' })
  const { url, speaker } = find({ HAUS_DATA_DIR: folder })
  assert.equal(url, 'http://127.0.0.1:8000')
  const file = path.join(folder, 'operator.token')
  assert.deepEqual(speaker, { kind: 'token-file', file, what: 'The operator token' })
})

test('options win over the environment, and that over the data folder', (t) => {
  const folder = dataDir(t, { api: 'http://127.0.0.1:8000' })
  const env = { HAUS_DATA_DIR: folder, HAUS_URL: 'http://a:1', HAUS_TOKEN_FILE: 'from-env' }
  const fromEnv = find(env)
  assert.equal(fromEnv.url, 'http://a:1')
  assert.deepEqual(fromEnv.speaker?.kind === 'token-file' && fromEnv.speaker.file, '/from-env')
  const fromOptions = find(env, { url: 'https://b/', tokenFile: 'mine', cwd: '/x' })
  assert.equal(fromOptions.url, 'https://b')
  assert.equal(fromOptions.speaker?.kind === 'token-file' && fromOptions.speaker.file, '/x/mine')
})

test('the token of a data folder is never sent to another house', (t) => {
  const folder = dataDir(t, { api: 'http://127.0.0.1:8000' })
  for (const url of [
    'http://elsewhere:8000',
    'http://127.0.0.1:8001',
    'https://127.0.0.1:8000',
    'http://127.0.0.1.example.org:8000',
  ]) {
    const { speaker, mute } = find({ HAUS_DATA_DIR: folder }, { url })
    assert.equal(speaker, undefined, url)
    assert.equal(mute?.exitCode, exitCodes.notAllowed)
  }
  const same = find({ HAUS_DATA_DIR: folder }, { url: 'http://localhost:8000' })
  assert.equal(same.speaker?.kind, 'token-file')
})

test('a service speaks with its key when no token is named', (t) => {
  const folder = dataDir(t, { api: 'http://127.0.0.1:8000' })
  const key = { HAUS_CLIENT_ID: 'id', HAUS_CLIENT_SECRET_FILE: 'orders.key' }
  const env = { HAUS_DATA_DIR: folder, ...key }
  assert.deepEqual(find(env).speaker, { kind: 'key', clientId: 'id', secretFile: '/orders.key' })
  assert.equal(find({ ...env, HAUS_TOKEN_FILE: 'f' }).speaker?.kind, 'token-file')
})

test('no house and no address is one sentence with the next step', (t) => {
  const failure = refusal(() => find({ HAUS_DATA_DIR: dataDir(t, undefined) }))
  assert.equal(failure.exitCode, exitCodes.unreachable)
  assert.match(failure.message, /No house is open here/)
  assert.match(failure.hint ?? '', /haus up/)
})

test('an address with a password in it is refused and not repeated', () => {
  for (const url of ['http://u:hunter2@host', 'ftp://hunter2', 'hunter2', 'http://h/?t=hunter2']) {
    const { message, hint, exitCode } = refusal(() => find({}, { url }))
    assert.equal(exitCode, exitCodes.usage)
    assert.doesNotMatch(`${message}${hint}`, /hunter2/)
  }
})
