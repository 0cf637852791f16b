/**
 * Writes the generated files of the repository, or with `--check` reports those that are out of
 * date. A generator is one line in the list: it returns what its file must contain.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { format, type FormatOptions } from 'oxfmt'
import { generateClientOperations } from './generate-client-operations.ts'
import { generateCli } from './generate-cli.ts'
import { generateConfiguration } from './generate-configuration.ts'
import { generateErrors } from './generate-errors.ts'
import { generateOpenApi } from './generate-openapi.ts'

export type GeneratedFile = {
  /** Relative to the root of the repository. */
  readonly path: string
  /** Not formatted yet. */
  readonly content: string
}

export type Generator = {
  readonly name: string
  /** Must depend on the repository alone: no clock, no network, no order of a hash map. */
  readonly generate: () => GeneratedFile | Promise<GeneratedFile>
}

const generators: readonly Generator[] = [
  { name: 'command line', generate: generateCli },
  { name: 'configuration', generate: generateConfiguration },
  { name: 'error codes', generate: generateErrors },
  { name: 'client operations', generate: generateClientOperations },
  { name: 'OpenAPI', generate: generateOpenApi },
]

const root = path.resolve(import.meta.dirname, '..')
const check = process.argv.includes('--check')
let stale = 0

const style = JSON.parse(await readFile(path.join(root, '.oxfmtrc.json'), 'utf8')) as FormatOptions

for (const generator of generators) {
  const file = await generator.generate()
  const target = path.join(root, file.path)
  const { code: content, errors } = await format(file.path, file.content, style)
  if (errors[0] !== undefined) throw new Error(`${file.path}: ${errors[0].message}`)
  const present = await readFile(target, 'utf8').catch(() => undefined)
  if (present === content) continue
  stale += 1
  if (check) {
    const fault = present === undefined ? 'missing' : 'out of date'
    console.error(`${file.path} is ${fault} (${generator.name})`)
  } else {
    await mkdir(path.dirname(target), { recursive: true })
    await writeFile(target, content)
    console.log(`wrote ${file.path}`)
  }
}

if (check && stale > 0) process.exitCode = 1
else if (!check && stale === 0) console.log('Everything is up to date')
