import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { inspect } from 'node:util'
import { test, type TestContext } from 'node:test'
import { HausError } from '@haus/contract'
import { loadConfig } from './load.ts'

function folder(t: TestContext, files: Record<string, string> = {}): string {
  const cwd = mkdtempSync(path.join(tmpdir(), 'haus-config-'))
  t.after(() => rmSync(cwd, { recursive: true, force: true }))
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(cwd, name), text)
  return cwd
}

function mistakesOf(load: () => unknown): readonly string[] {
  try {
    load()
  } catch (error) {
    assert.ok(error instanceof HausError)
    assert.equal(error.code, 'config_invalid')
    return error.fields.length > 0
      ? error.fields.map(({ field, detail }) => `${field} ${detail}`)
      : [error.message]
  }
  throw new Error('the configuration was taken')
}

test('without any setting the house opens on loopback, with its data beside it', (t) => {
  const cwd = folder(t)
  const config = loadConfig({ env: {}, cwd })
  assert.deepEqual(config.apiAddr, { host: '127.0.0.1', port: 8000 })
  assert.equal(config.dataDir, path.join(cwd, '.haus'))
  assert.equal(config.rootKeyFile, path.join(cwd, '.haus', 'root.key'))
  assert.equal(config.databaseUrl, null)
  assert.equal(config.allowPlaintext, false)
  assert.deepEqual(config.advertiseAllow, [])
  assert.ok(Object.isFrozen(config))
})

test('the environment wins over haus.yaml, which wins over the defaults', (t) => {
  const cwd = folder(t, {
    'haus.yaml':
      'apiAddr: "127.0.0.1:9000"\ndataDir: data\nadvertiseAllow: [10.0.0.0/8, "fd00::/8"]\n',
  })
  const config = loadConfig({ env: { HAUS_API_ADDR: '[::1]:0' }, cwd })
  assert.deepEqual(config.apiAddr, { host: '::1', port: 0 })
  assert.equal(config.dataDir, path.join(cwd, 'data'))
  assert.deepEqual(config.advertiseAllow, ['10.0.0.0/8', 'fd00::/8'])
})

test('every mistake is told at once, with the name that was written and the mend', (t) => {
  const cwd = folder(t, { 'haus.yaml': 'logLevel: loud\nport: 3\n' })
  const mistakes = mistakesOf(() =>
    loadConfig({
      env: {
        HAUS_API_ADR: '127.0.0.1:1',
        HAUS_API_ADDR: 'localhost',
        HAUS_ADVERTISE_ALLOW: '10.0.0.0/40',
        HAUS_ALLOW_PLAINTEXT: 'yes',
        HAUS_TLS_CERT_FILE: 'cert.pem',
      },
      cwd,
    }),
  )
  assert.ok(
    mistakes.some((m) =>
      m.startsWith('HAUS_API_ADR is not a setting; did you mean HAUS_API_ADDR?'),
    ),
  )
  assert.ok(mistakes.some((m) => m.startsWith('HAUS_API_ADDR must be host:port')))
  assert.ok(mistakes.some((m) => m.startsWith('HAUS_ADVERTISE_ALLOW must be networks')))
  assert.ok(mistakes.some((m) => m.startsWith('HAUS_ALLOW_PLAINTEXT must be true or false')))
  assert.ok(mistakes.some((m) => m.startsWith('HAUS_TLS_KEY_FILE must be set too')))
  assert.ok(mistakes.some((m) => m.startsWith('haus.yaml: logLevel must be one of')))
  assert.ok(mistakes.some((m) => m.startsWith('haus.yaml: port is not a setting')))
  assert.equal(mistakes.length, 7)
})

test('variables of clients and of the tests are not taken for misspelt settings', (t) => {
  loadConfig({
    env: { HAUS_URL: 'http://x', HAUS_TOKEN_FILE: 'f', HAUS_TEST_LONG: '1', PATH: '/bin' },
    cwd: folder(t),
  })
})

test('an empty variable means unset', (t) => {
  assert.equal(loadConfig({ env: { HAUS_DATABASE_URL: '' }, cwd: folder(t) }).databaseUrl, null)
})

test('a setting of a later release is taken and named', (t) => {
  const config = loadConfig({ env: { HAUS_REDIS_URL: 'redis://localhost' }, cwd: folder(t) })
  assert.deepEqual(config.withoutEffect, ['HAUS_REDIS_URL'])
})

test('the database URL can come from a file, and never shows', (t) => {
  const cwd = folder(t, { url: 'postgres://haus:canary-password@db/haus\n' })
  const config = loadConfig({ env: { HAUS_DATABASE_URL_FILE: 'url' }, cwd })
  assert.equal(config.databaseUrl?.reveal(), 'postgres://haus:canary-password@db/haus')
  assert.ok(!inspect(config, { depth: 9 }).includes('canary'))
  assert.ok(!JSON.stringify(config).includes('canary'))
})

test('a wrong database URL is refused without repeating it', (t) => {
  const [mistake] = mistakesOf(() =>
    loadConfig({ env: { HAUS_DATABASE_URL: 'mysql://u:canary@h/d' }, cwd: folder(t) }),
  )
  assert.equal(mistake, 'HAUS_DATABASE_URL must be a postgres:// URL')
})

test('a named configuration file that is not there is an error, and so is one that is not YAML', (t) => {
  const cwd = folder(t, { 'broken.yaml': 'a: [', 'list.yaml': '- a' })
  for (const configFile of ['absent.yaml', 'broken.yaml', 'list.yaml']) {
    const [mistake] = mistakesOf(() => loadConfig({ env: {}, cwd, configFile }))
    assert.ok(mistake?.includes(configFile), `told: ${mistake}`)
  }
})
