import assert from 'node:assert/strict'
import { test } from 'node:test'
import { rootCommand } from './commands/index.ts'
import { suggest } from './suggest.ts'

/** The last word is being typed. */
function words(...line: string[]): string[] {
  return suggest(rootCommand, line).words.map(({ word }) => word)
}

test('commands and their subcommands are completed, hidden ones are not', () => {
  assert.deepEqual(words('st'), ['status'])
  assert.ok(words('').includes('credentials'))
  assert.deepEqual(words('credentials', 're'), ['reveal'])
  assert.deepEqual(words('--json', 'token', 'is'), ['issue'])
  assert.ok(!words('completion', '').includes('suggest'))
})

test('options are completed once, and those of another command never', () => {
  assert.deepEqual(words('audit', '--fo'), ['--follow'])
  assert.deepEqual(words('audit', '--follow', '--fo'), [])
  assert.ok(words('credentials', 'create', 'x', '--service', 'a', '--s').includes('--service'))
  assert.ok(!words('status', '--').includes('--follow'))
  assert.ok(words('status', '--').includes('--json'))
})

test('values are completed where a value stands', () => {
  assert.deepEqual(words('audit', '--outcome', ''), ['allowed', 'denied', 'failed'])
  assert.deepEqual(words('audit', '--outcome=d'), ['--outcome=denied'])
  assert.deepEqual(words('services', 'maintenance', 'orders', 'o'), ['on', 'off'])
  assert.deepEqual(words('completion', ''), ['bash', 'zsh', 'fish'])
})

test('names come from the house and files from the disk', () => {
  assert.equal(suggest(rootCommand, ['discover', '']).more, 'service')
  assert.equal(suggest(rootCommand, ['discover', 'orders', '']).more, undefined)
  assert.equal(suggest(rootCommand, ['credentials', 'grant', 'db', 'a', '']).more, 'service')
  assert.equal(suggest(rootCommand, ['credentials', 'show', '']).more, 'credential')
  assert.equal(suggest(rootCommand, ['status', '--token-file', '']).more, 'file')
  // A service, or a subcommand: both may come.
  const both = suggest(rootCommand, ['services', ''])
  assert.equal(both.more, 'service')
  assert.ok(both.words.some(({ word }) => word === 'drain'))
})
