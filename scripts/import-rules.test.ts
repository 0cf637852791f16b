import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { findViolations, rules } from './import-rules.ts'
import { readModule } from './module-imports.ts'

const fixtures = path.join(import.meta.dirname, 'fixtures', 'import-rules')

test('every import rule has a sample that breaks it', () => {
  const folders = readdirSync(fixtures).filter((name) => name !== 'clean')
  assert.deepEqual(folders.toSorted(), Object.keys(rules).toSorted())
})

for (const rule of Object.keys(rules)) {
  test(`the import rule ${rule} reports its sample, once and nothing else`, () => {
    const found = findViolations(path.join(fixtures, rule)).map((violation) => violation.rule)
    assert.deepEqual(found, [rule])
  })
}

test('imports in the right direction are not reported', () => {
  assert.deepEqual(findViolations(path.join(fixtures, 'clean')), [])
})

test('every way to import a module is seen, with its line and whether it stays after stripping', () => {
  const source = [
    `import './effect.ts'`,
    `import type { A } from './type.ts'`,
    `import { type B } from './inline-type.ts'`,
    `import { type C, d } from './mixed.ts'`,
    `export * from './all.ts'`,
    `export type { E } from './exported-type.ts'`,
    `const f = await import('./dynamic.ts')`,
    `const g = new Worker(new URL('./thread.ts', import.meta.url))`,
    `type H = import('./import-type.ts').H`,
    `// import './comment.ts'`,
    "const i = `import './text.ts'`",
    `import type from './named-type.ts'`,
  ].join('\n')
  const seen = readModule('sample.ts', source).imports.map(
    ({ specifier, line, typeOnly }) => `${line} ${specifier}${typeOnly ? ' (type)' : ''}`,
  )
  assert.deepEqual(
    new Set(seen),
    new Set([
      '1 ./effect.ts',
      '2 ./type.ts (type)',
      '3 ./inline-type.ts (type)',
      '4 ./mixed.ts',
      '5 ./all.ts',
      '6 ./exported-type.ts (type)',
      '7 ./dynamic.ts',
      '8 ./thread.ts',
      '9 ./import-type.ts (type)',
      '12 ./named-type.ts',
    ]),
  )
})

test('every use of the global process is seen, and nothing that only bears its name', () => {
  const source = [
    `import { env } from 'node:process'`,
    `globalThis.process.exit()`,
    `const { argv } = process`,
    `run(process)`,
    `const a = { process: 1 }`,
    `a.process += 1`,
    `const b = { process }`,
    `import { pid, geteuid } from 'node:process'`,
    `import { pid as own, argv } from 'node:process'`,
  ].join('\n')
  assert.deepEqual(readModule('sample.ts', source).processUses, [1, 2, 3, 4, 7, 9])
})
