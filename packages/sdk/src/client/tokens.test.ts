import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { inspect } from 'node:util'
import { Secret } from '../platform/secret.ts'
import { ManualClock } from '../testing/manual-clock.ts'
import { HausApiError, HausUnreachableError } from './errors.ts'
import { clientCredentials, tokenFile } from './tokens.ts'

const key = { clientId: 'c-1', clientSecret: new Secret('s-1') }

/** Issues t-1, t-2, …, or fails as long as `error` is set. */
function issuing(clock: ManualClock) {
  const state = { issued: 0, error: undefined as Error | undefined, keys: 0 }
  const source = clientCredentials({
    clock,
    key: () => {
      state.keys += 1
      return Promise.resolve(key)
    },
    issue: async () => {
      await Promise.resolve()
      if (state.error) throw state.error
      state.issued += 1
      return { token: new Secret(`t-${state.issued}`), expiresInSeconds: 900 }
    },
  })
  return {
    state,
    token: async (audience: 'haus' | 'haus-gateway' = 'haus') =>
      (await source.token(audience)).reveal(),
    source,
  }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('many who ask at once share one renewal, one for each audience', async () => {
  const { state, token } = issuing(new ManualClock())
  assert.deepEqual(await Promise.all([token(), token(), token()]), ['t-1', 't-1', 't-1'])
  assert.equal(await token('haus-gateway'), 't-2')
  assert.equal(await token(), 't-1')
  assert.equal(state.issued, 2)
  assert.equal(state.keys, 2, 'the key is read again for each')
})

test('a token is renewed at half of its life while the old one goes on', async () => {
  const clock = new ManualClock()
  const { token } = issuing(clock)
  await token()
  clock.advance(449_999)
  assert.equal(await token(), 't-1')
  clock.advance(1)
  assert.equal(await token(), 't-1', 'nobody waits for the renewal')
  await settled()
  assert.equal(await token(), 't-2')
})

test('while the house is away the old token serves to its end, and no longer', async () => {
  const clock = new ManualClock()
  const { state, token } = issuing(clock)
  await token()
  state.error = new HausUnreachableError('unreachable', 'issueToken', 'away')
  clock.advance(889_999)
  assert.equal(await token(), 't-1')
  await settled()
  clock.advance(1)
  await assert.rejects(token(), { reason: 'unreachable' })
  state.error = undefined
  assert.equal(await token(), 't-2')
})

test('a renewal that failed is tried again after a second, not at each call', async () => {
  const clock = new ManualClock()
  const { state, token } = issuing(clock)
  await token()
  state.error = new HausUnreachableError('unreachable', 'issueToken', 'away')
  clock.advance(500_000)
  for (let call = 0; call < 5; call++) {
    await token()
    await settled()
  }
  assert.equal(state.keys, 2)
  state.error = undefined
  clock.advance(1_000)
  await token()
  await settled()
  assert.equal(await token(), 't-2')
})

test('a revoked key ends its tokens at the next renewal', async () => {
  const clock = new ManualClock()
  const { state, token } = issuing(clock)
  await token()
  state.error = new HausApiError('Wrong.', {
    code: 'invalid_client',
    status: 401,
    operation: 'issueToken',
  })
  clock.advance(450_000)
  await token()
  await settled()
  await assert.rejects(token(), { code: 'invalid_client' })
})

test('a token that was refused is not handed out again', async () => {
  const { source, token } = issuing(new ManualClock())
  const first = await source.token('haus')
  source.refused(first)
  assert.equal(await token(), 't-2')
  source.refused(first)
  assert.equal(await token(), 't-2')
})

function folder(t: TestContext): string {
  const made = mkdtempSync(path.join(tmpdir(), 'haus-sdk-'))
  t.after(() => rmSync(made, { recursive: true, force: true }))
  return made
}

test('a token file is read again at each use', async (t) => {
  const file = path.join(folder(t), 'token')
  writeFileSync(file, 'one\n', { mode: 0o600 })
  const source = tokenFile(file)
  assert.equal((await source.token('haus')).reveal(), 'one')
  writeFileSync(file, 'two')
  assert.equal((await source.token('haus')).reveal(), 'two')
})

test('a file that others can read is refused with what to do, and nothing of it', async (t) => {
  const file = path.join(folder(t), 'token')
  writeFileSync(file, 'canary-1', { mode: 0o600 })
  for (const mode of [0o640, 0o604, 0o620]) {
    chmodSync(file, mode)
    await assert.rejects(tokenFile(file).token('haus'), (error) => {
      assert.match(
        String(error),
        /^SecretFileError: HAUS_TOKEN_FILE: \S+ can be read by others \(mode 06\d\d\)/,
      )
      return !inspect(error).includes('canary-1')
    })
  }
})

test('a secret file with more than one line, nothing, or a folder is refused without quoting it', async (t) => {
  const place = folder(t)
  const file = path.join(place, 'token')
  for (const text of ['canary-1\ncanary-2', '', ' \n', 'canary 1', 'x'.repeat(20_000)]) {
    writeFileSync(file, text, { mode: 0o600 })
    await assert.rejects(
      tokenFile(file).token('haus'),
      (error) => !inspect(error).includes('canary'),
    )
  }
  await assert.rejects(
    tokenFile(path.join(place, 'none')).token('haus'),
    /cannot be read \(ENOENT\)/,
  )
  chmodSync(place, 0o700)
  await assert.rejects(tokenFile(place).token('haus'), { name: 'SecretFileError' })
})
