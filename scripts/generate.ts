/**
 * Writes the generated files of the repository, or with `--check` reports those that are out of
 * date. A generator is one line in the list: it returns what its file must contain.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { generateClientOperations } from './generate-client-operations.ts'
import { generateCli } from './generate-cli.ts'
import { generateConfiguration } from './generate-configuration.ts'
import { generateErrors } from './generate-errors.ts'
import { generateOpenApi } from './generate-openapi.ts'

export type GeneratedFile = {
  /** Relative to the root of the repository. */
  readonly path: string
  readonly content: string
}

export type Generator = {
  readonly name: string
  /** Must depend on the repository alone: no clock, no network, no order of a hash map. */
  readonly generate: () => Promise<readonly GeneratedFile[]>
}

const generators: readonly Generator[] = [
  { name: 'command line', generate: async () => [await generateCli()] },
  { name: 'configuration', generate: async () => [generateConfiguration()] },
  { name: 'error codes', generate: async () => [await generateErrors()] },
  { name: 'client operations', generate: async () => [await generateClientOperations()] },
  { name: 'OpenAPI', generate: async () => [await generateOpenApi()] },
]

const root = path.resolve(import.meta.dirname, '..')
const check = process.argv.includes('--check')
let stale = 0

for (const generator of generators) {
  for (const file of await generator.generate()) {
    const target = path.join(root, file.path)
    const present = await readFile(target, 'utf8').catch(() => undefined)
    if (present === file.content) continue
    stale += 1
    if (check) {
      console.error(
        `${file.path} is ${present === undefined ? 'missing' : 'out of date'} (${generator.name})`,
      )
    } else {
      await mkdir(path.dirname(target), { recursive: true })
      await writeFile(target, file.content)
      console.log(`wrote ${file.path}`)
    }
  }
}

if (check && stale > 0) process.exitCode = 1
else if (!check && stale === 0) console.log('Everything is up to date')
