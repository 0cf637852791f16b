import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { findFiles } from './checks.ts'
import { findUntidy } from './tidy.ts'

const root = path.resolve(import.meta.dirname, '..')
const feature = 'services/zimmer-13-api-coordinator/src/features/health/service.ts'
const testFile = 'services/zimmer-13-api-coordinator/src/features/health/service.test.ts'

test('the repository is tidy', () => {
  const files = findFiles(
    root,
    '{.,.ci,.github/**,packages/**,services/**,scripts/**,bench/**,e2e/**,demo/**,deploy/**,docs/**}/*.{ts,tsx,mjs,js,css,html,sh,md,json,jsonc,yml,yaml}',
  ).filter((file) => !file.startsWith('docs/reference/') && !file.startsWith('bench/results/'))
  assert.ok(files.includes('scripts/tidy.ts') && files.includes('package.json'))
  const untidy = files.flatMap((file) =>
    findUntidy(file, readFileSync(path.join(root, file), 'utf8')).map(
      ({ rule, line }) => `${file}:${line} ${rule}`,
    ),
  )
  assert.deepEqual(untidy, [])
})

const note = 'TO' + 'DO'
const home = '/ho' + 'me/somebody/haus'
const host = 'https://' + 'registry.example.org'
const disable = 'oxlint' + '-disable-next-line no-eval'

const samples: readonly [rule: string, file: string, source: string][] = [
  ['a bare timer', feature, 'setTimeout(run, 5)'],
  ['a bare timer', feature, 'globalThis.setInterval(run, 5)'],
  ['a bare timer', feature, `import { setTimeout } from 'node:timers/promises'`],
  ['the clock of the machine', feature, 'const now = Date.now()'],
  ['the clock of the machine', feature, 'const now = new Date()'],
  ['the clock of the machine', feature, 'const now = performance.now()'],
  ['chance that is not injected', feature, 'const pick = Math.random()'],
  ['a print to the console', feature, `console.log('here')`],
  ['a forgotten note', 'docs/guide.md', `${note}: say more`],
  ['a path on one machine', 'docs/guide.md', `Open ${home} first`],
  ['a package registry by name', 'package-lock.json', `"resolved": "${host}/a.tgz"`],
  ['a lint rule switched off without " -- reason"', feature, `// ${disable}`],
  ['a test that hides the others', testFile, `test.only('a', run)`],
  ['a test that hides the others', testFile, `test('a', { only: true }, run)`],
  ['a test switched off without a reason', testFile, `test.skip('a', run)`],
  ['a test switched off without a reason', testFile, `test('a', { skip: true }, run)`],
  ['a test switched off without a reason', testFile, `t.skip()`],
  [
    'more than 600 lines without "Longer than 600 lines because …"',
    feature,
    'export {}\n'.repeat(700),
  ],
]

for (const [rule, file, source] of samples) {
  test(`tidy reports ${rule}: ${source.slice(0, 50).trim().replaceAll('\n', ' ')}`, () => {
    assert.deepEqual(
      findUntidy(file, source).map((found) => found.rule),
      [rule],
    )
  })
}

test('tidy leaves alone what is allowed', () => {
  const platform = 'services/zimmer-13-api-coordinator/src/platform/clock/clock.ts'
  const allowed: readonly [file: string, source: string][] = [
    [platform, 'setTimeout(run, Date.now())'],
    [feature, 'const at = new Date(clock.nowMs())'],
    [feature, '// setTimeout(run), Date.now() and console.log are only named here'],
    [feature, `// ${disable} -- the sandbox has no other way`],
    [feature, `// Longer than 600 lines because it is one table\n${'export {}\n'.repeat(700)}`],
    [testFile, `test('a', { skip: reason }, run)`],
    [testFile, `test('a', { skip: 'needs Linux' }, run)`],
    [testFile, `t.skip('needs Linux')`],
    ['bench/run.ts', `console.log(performance.now())`],
    ['docs/guide.md', 'The file is at /var/lib/haus/root.key; see https://example.org/home/page'],
  ]
  for (const [file, source] of allowed) assert.deepEqual(findUntidy(file, source), [], source)
})
