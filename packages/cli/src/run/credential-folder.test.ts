import assert from 'node:assert/strict'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { createCredentialFolder, type FileCredential } from './credential-folder.ts'
import { credentialVariables, variableName } from './environment.ts'

const everybodyLives = { pid: 4711, isAlive: () => true }

function parent(t: TestContext): string {
  const made = fs.mkdtempSync(path.join(tmpdir(), 'haus-cli-'))
  t.after(() => fs.rmSync(made, { recursive: true, force: true }))
  return made
}

function version(number: number, data: Record<string, string> = { password: `p${number}` }) {
  return { name: 'orders-db', version: number, expiresAt: null, data } satisfies FileCredential
}

const modeOf = (file: string): number => fs.statSync(file).mode & 0o777

test('only the user can read any of it', async (t) => {
  const folder = await createCredentialFolder([parent(t)], everybodyLives)
  await folder.write(version(1))
  assert.equal(modeOf(folder.path), 0o700)
  const names = fs.readdirSync(folder.path, { recursive: true, encoding: 'utf8' })
  assert.ok(names.length > 4)
  for (const name of names) {
    const file = path.join(folder.path, name)
    assert.equal(modeOf(file), fs.statSync(file).isDirectory() ? 0o700 : 0o600, name)
  }
})

test('a value is there to its last byte, and all of it as JSON', async (t) => {
  const folder = await createCredentialFolder([parent(t)], everybodyLives)
  const data = { 'tls.key': 'a\nb\n', password: 'ö"$`\u0001' }
  await folder.write(version(3, data))
  const read = (key: string) => fs.readFileSync(path.join(folder.path, 'orders-db', key), 'utf8')
  assert.equal(read('tls.key'), data['tls.key'])
  assert.equal(read('password'), data.password)
  assert.deepEqual(JSON.parse(read('.credential.json')), version(3, data))
})

test('a new version replaces all values at once, and who reads the old one can finish', async (t) => {
  const folder = await createCredentialFolder([parent(t)], everybodyLives)
  await folder.write(version(1, { a: '1', b: '1' }))
  const open = fs.realpathSync(path.join(folder.path, 'orders-db'))
  await folder.write(version(2, { a: '2' }))
  assert.deepEqual(fs.readdirSync(path.join(folder.path, 'orders-db')), ['.credential.json', 'a'])
  assert.equal(fs.readFileSync(path.join(open, 'b'), 'utf8'), '1')
  await folder.write(version(3, { a: '3' }))
  assert.ok(!fs.existsSync(open), 'versions pile up')
  assert.equal(fs.readdirSync(path.join(folder.path, '.versions')).length, 2)
})

test('what cannot be written whole leaves the version before in place', async (t) => {
  const folder = await createCredentialFolder([parent(t)], everybodyLives)
  await folder.write(version(1))
  await assert.rejects(folder.write(version(2, { a: 'x', ['n'.repeat(300)]: 'x' })))
  const file = path.join(folder.path, 'orders-db', 'password')
  assert.equal(fs.readFileSync(file, 'utf8'), 'p1')
  assert.equal(fs.readdirSync(path.join(folder.path, '.versions')).length, 1)
})

test('one that is no longer granted is gone, and at the end everything is', async (t) => {
  const home = parent(t)
  const folder = await createCredentialFolder([home], everybodyLives)
  await folder.write(version(1))
  await folder.write(version(2))
  await folder.remove('orders-db')
  assert.deepEqual(fs.readdirSync(folder.path), ['.versions'])
  assert.deepEqual(fs.readdirSync(path.join(folder.path, '.versions')), [])
  await folder.removeAll()
  assert.deepEqual(fs.readdirSync(home), [])
})

test('what a killed run left behind is removed, and what a living one uses is not', async (t) => {
  const home = parent(t)
  const dead = await createCredentialFolder([home], { pid: 100, isAlive: () => true })
  const living = await createCredentialFolder([home], { pid: 200, isAlive: () => true })
  fs.mkdirSync(path.join(home, 'haus-run-1-100-abc'))
  const owner = { pid: 300, isAlive: (pid: number) => pid === 200 }
  const next = await createCredentialFolder([home], owner)
  const left = fs.readdirSync(home)
  assert.ok(!left.includes(path.basename(dead.path)))
  for (const kept of [living.path, next.path]) assert.ok(left.includes(path.basename(kept)))
  assert.ok(left.includes('haus-run-1-100-abc'), 'a process of another space is not ours to judge')
})

test('values become variables of a plain name, and two of one name are refused', () => {
  assert.equal(variableName('orders-database', 'password'), 'ORDERS_DATABASE_PASSWORD')
  assert.deepEqual(credentialVariables([version(1, { 'tls.key': 'x' })]), {
    ORDERS_DB_TLS_KEY: 'x',
  })
  assert.throws(() => credentialVariables([version(1, { 'a.b': 'x', a_b: 'y' })]), /would both be/)
  assert.throws(() => credentialVariables([version(1, { a: 'x\0y' })]), /zero byte/)
})
