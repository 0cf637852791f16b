/**
 * Holds every import to the direction the architecture gives it, from the syntax tree, so that
 * neither a comment nor an unusual spelling hides one.
 *
 *   main -> haus -> surfaces -> features -> platform;  rooms and CLI -> sdk -> contract
 *
 * `fixtures/import-rules/<rule>` breaks each rule once, and a test shows that it is reported.
 * Refuses exceptions by file name: a rule holds or goes.
 */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { findFiles } from './checks.ts'
import { readModule, type ModuleImport } from './module-imports.ts'

export const rules = {
  'one-way': 'imports go main -> haus -> surfaces -> features -> platform, never back',
  'feature-index':
    "a feature is used through its index.ts (types of all tables: 'features/tables.ts')",
  'surface-apart': 'a surface does not import another surface',
  'no-testing-in-production': 'production code does not import test code',
  'declared-dependencies':
    'production code imports only what its package.json lists in "dependencies"',
  'inside-the-package': 'a relative import stays inside its package: use the name of the other one',
  'contract-without-io': 'the contract imports nothing but typebox',
  'packages-one-way': 'packages import each other one way: contract <- sdk <- cli',
  'rooms-use-the-sdk':
    'rooms, CLI and SDK never import a service, rooms only the SDK and the contract',
  'process-in-main': 'only main.ts (or the main of a worker thread, worker.ts) uses `process`',
  'no-cycle': 'modules do not import each other in a circle',
} as const

export type RuleName = keyof typeof rules

export type Violation = {
  readonly rule: RuleName
  readonly file: string
  readonly line: number
  readonly what: string
}

const coordinator = 'services/zimmer-13-api-coordinator'

/** From the foundation up; a layer may import itself and those below. */
const layers = ['platform', 'features', 'surfaces', 'haus', 'main']

/** From the foundation up. */
const packages = ['packages/contract', 'packages/sdk', 'packages/cli']

type Place = {
  readonly file: string
  /** `packages/x` or `services/x`; undefined for scripts, bench and e2e. */
  readonly workspace: string | undefined
  readonly test: boolean
  /** `platform`, `features`, … or `haus`; `main` for every other file directly in src. */
  readonly area: string
  /** The feature or surface, or undefined for a file directly in the folder of all of them. */
  readonly slice: string | undefined
}

type Workspace = { readonly name: string; readonly dependencies: ReadonlySet<string> }

type Target =
  | { readonly kind: 'file'; readonly place: Place }
  | { readonly kind: 'builtin' }
  | { readonly kind: 'package'; readonly name: string; readonly workspace: string | undefined }

export function findViolations(root: string): Violation[] {
  const workspaces = readWorkspaces(root)
  const files = findFiles(root, '{packages,services}/*/src/**/*.{ts,tsx}')
  const violations: Violation[] = []
  const graph = new Map<string, { to: string; line: number }[]>()

  for (const file of files) {
    const from = placeOf(file)
    const source = readFileSync(path.join(root, file), 'utf8')
    const module = readModule(file, source)
    const add = (rule: RuleName, line: number, what: string): void => {
      violations.push({ rule, file, line, what })
    }
    const mainOfThread = /^(main|worker)\.ts$/.test(path.posix.basename(file))
    if (!from.test && !mainOfThread) {
      for (const line of module.processUses) add('process-in-main', line, 'process')
    }
    for (const entry of module.imports) {
      const target = resolve(root, file, entry.specifier, workspaces)
      for (const rule of brokenRules(from, entry, target, workspaces)) {
        add(rule, entry.line, entry.specifier)
      }
      if (target.kind === 'file' && !entry.typeOnly && !entry.worker) {
        const edges = graph.get(file) ?? []
        graph.set(file, [...edges, { to: target.place.file, line: entry.line }])
      }
    }
  }
  return [...violations, ...findCycles(graph)]
}

function brokenRules(
  from: Place,
  entry: ModuleImport,
  target: Target,
  workspaces: ReadonlyMap<string, Workspace>,
): RuleName[] {
  const broken: RuleName[] = []
  const own = from.workspace === undefined ? undefined : workspaces.get(from.workspace)

  const reached =
    target.kind === 'file'
      ? target.place.workspace
      : target.kind === 'package'
        ? target.workspace
        : undefined
  if (reached !== undefined && reached !== from.workspace) {
    const isRoom = from.workspace?.startsWith('services/') ?? false
    const allowed = isRoom
      ? ['packages/sdk', 'packages/contract'].includes(reached)
      : !reached.startsWith('services/')
    if (!allowed) broken.push('rooms-use-the-sdk')
    else if (goesUp(from.workspace, reached)) broken.push('packages-one-way')
    if (target.kind === 'file') broken.push('inside-the-package')
  }

  if (from.test) return broken

  if (target.kind === 'file' && target.place.test) return [...broken, 'no-testing-in-production']
  if (from.workspace === 'packages/contract' && !contractMayImport(target)) {
    broken.push('contract-without-io')
  } else if (target.kind === 'package' && !own?.dependencies.has(target.name)) {
    if (target.name !== own?.name) broken.push('declared-dependencies')
  }
  if (from.workspace === coordinator && target.kind === 'file' && reached === coordinator) {
    broken.push(...brokenInCoordinator(from, entry, target.place))
  }
  return broken
}

function goesUp(from: string | undefined, to: string): boolean {
  const own = packages.indexOf(from ?? '')
  return own >= 0 && packages.indexOf(to) > own
}

function contractMayImport(target: Target): boolean {
  if (target.kind === 'file') return true
  return target.kind === 'package' && target.name === 'typebox'
}

function brokenInCoordinator(from: Place, entry: ModuleImport, to: Place): RuleName[] {
  // Configuration is handed down as arguments and migrations are run from above.
  if (from.area === 'config') return to.area === 'config' ? [] : layerBroken('features', to.area)
  if (from.area === 'migrations') {
    return to.area === 'migrations' ? [] : layerBroken('features', to.area)
  }
  const broken = layerBroken(from.area, to.area)
  if (to.area === 'features' && from.area !== 'main' && !reachesThroughIndex(from, entry, to)) {
    broken.push('feature-index')
  }
  const betweenSurfaces = from.area === 'surfaces' && to.area === 'surfaces'
  if (betweenSurfaces && from.slice !== to.slice && from.slice !== undefined) {
    broken.push('surface-apart')
  }
  return broken
}

function layerBroken(from: string, to: string): RuleName[] {
  const own = layers.indexOf(from)
  const other = ['config', 'migrations'].includes(to)
    ? layers.indexOf('haus') - 0.5
    : layers.indexOf(to)
  // An unknown folder below src belongs to no layer: it has to be put into one.
  return other === -1 || own === -1 || other > own ? ['one-way'] : []
}

function reachesThroughIndex(from: Place, entry: ModuleImport, to: Place): boolean {
  if (from.area === 'features' && from.slice === to.slice && to.slice !== undefined) return true
  if (to.file === `${coordinator}/src/features/tables.ts`) return entry.typeOnly
  const fromTables = from.file === `${coordinator}/src/features/tables.ts`
  if (fromTables && path.posix.basename(to.file) === 'table.ts') return entry.typeOnly
  return to.file === `${coordinator}/src/features/${to.slice}/index.ts`
}

function placeOf(file: string): Place {
  const parts = file.split('/')
  const workspace = /^(packages|services)$/.test(parts[0] ?? '')
    ? parts.slice(0, 2).join('/')
    : undefined
  const below = parts.slice(3)
  const [first = ''] = below
  return {
    file,
    workspace,
    test: first === 'testing' || /\.test\.tsx?$/.test(file),
    area: below.length > 1 || first === 'haus.ts' ? first.replace(/\.tsx?$/, '') : 'main',
    slice: below.length > 2 ? below[1] : undefined,
  }
}

function resolve(
  root: string,
  file: string,
  specifier: string,
  workspaces: ReadonlyMap<string, Workspace>,
): Target {
  if (specifier.startsWith('.') || specifier.startsWith('/')) {
    const joined = specifier.startsWith('/')
      ? path.relative(root, specifier)
      : path.posix.join(path.posix.dirname(file), specifier)
    return { kind: 'file', place: placeOf(joined) }
  }
  if (specifier.startsWith('node:')) return { kind: 'builtin' }
  const name = specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
  const found = [...workspaces].find(([, workspace]) => workspace.name === name)
  return { kind: 'package', name, workspace: found?.[0] }
}

function readWorkspaces(root: string): Map<string, Workspace> {
  return new Map(
    findFiles(root, '{packages,services}/*/package.json').map((file) => {
      const { name, dependencies, peerDependencies }: Record<string, unknown> = JSON.parse(
        readFileSync(path.join(root, file), 'utf8'),
      )
      const listed = [dependencies, peerDependencies].flatMap((list) => Object.keys(list ?? {}))
      return [path.posix.dirname(file), { name: String(name), dependencies: new Set(listed) }]
    }),
  )
}

/** Reports each circle once, at the import that closes it. Type imports leave no trace at run time. */
function findCycles(
  graph: ReadonlyMap<string, readonly { to: string; line: number }[]>,
): Violation[] {
  const found: Violation[] = []
  const done = new Set<string>()
  const walk = (file: string, trail: readonly string[]): void => {
    for (const { to, line } of graph.get(file) ?? []) {
      const at = trail.indexOf(to)
      if (at >= 0) {
        const circle = [...trail.slice(at), to].map((name) => path.posix.basename(name))
        found.push({ rule: 'no-cycle', file, line, what: circle.join(' -> ') })
      } else if (!done.has(to)) walk(to, [...trail, to])
    }
    done.add(file)
  }
  for (const file of graph.keys()) if (!done.has(file)) walk(file, [file])
  return found
}

if (import.meta.main) {
  const root = path.resolve(import.meta.dirname, '..')
  const violations = findViolations(root)
  for (const { file, line, what, rule } of violations) {
    console.error(`${file}:${line} ${what}\n    ${rule}: ${rules[rule]}`)
  }
  if (violations.length > 0) process.exitCode = 1
}
