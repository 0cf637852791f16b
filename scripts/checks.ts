/** The checks `npm test` makes before it runs a test: each is one command that exits 0 when clean. */
import { globSync } from 'node:fs'
import path from 'node:path'

export type Check = {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  readonly env?: NodeJS.ProcessEnv
  /** Said after the name of a check that fails. */
  readonly mend?: string
}

/**
 * For tools that split the files among several type checkers, each of which then computes the shared
 * types anew: two cores took 12.5 s of processor time where one takes 6.8 s, and were no sooner done.
 */
const oneCore = { GOMAXPROCS: '1' }

export function listChecks(root: string): Check[] {
  const tool = (name: string): string => path.join(root, 'node_modules', '.bin', name)
  const own = (script: string, ...args: string[]) => ({
    command: process.execPath,
    args: [path.join(root, 'scripts', script), ...args],
  })
  return [
    { name: 'types', command: tool('tsc'), args: ['-p', 'tsconfig.json', '--singleThreaded'] },
    {
      name: 'lint',
      command: tool('oxlint'),
      args: ['--type-aware', '--deny-warnings', '--config', '.oxlintrc.json', '.'],
      env: oneCore,
    },
    {
      name: 'format',
      command: tool('oxfmt'),
      args: ['--list-different'],
      mend: 'npm run format',
    },
    { name: 'import rules', ...own('import-rules.ts') },
    { name: 'dead code', command: tool('knip'), args: ['--no-progress'] },
    { name: 'generated files', ...own('generate.ts', '--check'), mend: 'npm run generate' },
    {
      name: 'OpenAPI',
      command: tool('redocly'),
      args: ['lint', '--config', 'redocly.yaml', 'docs/reference/openapi.json'],
    },
    { name: 'Dockerfiles', ...own('lint-dockerfiles.ts') },
    { name: 'workflows', ...own('lint-workflows.ts') },
  ]
}

/** Files of the repository; never those of dependencies, or fixtures that are wrong on purpose. */
export function findFiles(root: string, pattern: string): string[] {
  return globSync(pattern, {
    cwd: root,
    exclude: (name) => /(^|\/)(node_modules|fixtures|\.git|\.haus)(\/|$)/.test(name),
  })
    .map((file) => file.split(path.sep).join('/'))
    .toSorted()
}
