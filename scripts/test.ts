/**
 * `npm test`: the checks and beside them every test file, then one line of counts as the very last
 * line. A failing step never hides the next one; the end says which failed.
 */
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import {
  postgresUnavailable,
  startPostgres,
  type PostgresServer,
} from '../services/zimmer-13-api-coordinator/src/testing/postgres-server.ts'
import { findFiles, listChecks, type Check } from './checks.ts'
import { Children } from './children.ts'
import { compilerFlags, runTestFiles, type FileResult } from './test-files.ts'

const root = path.resolve(import.meta.dirname, '..')
/** The slowest check takes seconds; a tool that hangs must not hold the run. */
const checkTimeoutMs = 180_000
/** The crash tests are the longest files, at about a minute on two slow cores. */
const defaultFileTimeoutMs = 240_000
/**
 * One more than there are cores, since every file waits now and then; with two more they only get
 * into each other's way. Each may start an embedded database of 200 MB and more, so many cores do
 * not get many more.
 */
const defaultConcurrency = Math.min(availableParallelism() + 1, 4)
/** The longest ones, seen on two cores: begun last, one of them would run on alone at the end. */
const begunFirst = [
  'e2e/crash.test.ts',
  'e2e/start-refused.test.ts',
  'services/zimmer-13-api-coordinator/src/features/identity/house.test.ts',
  'services/zimmer-13-api-coordinator/src/platform/ledger/ledger.test.ts',
  'services/zimmer-13-api-coordinator/src/platform/database',
]
/**
 * Two fifths of a processor at most, seen on two cores: leases, silent databases and checks that
 * hang take their time. Among the others they left an eighth of both cores idle.
 */
const mostlyWaiting = new Set([
  'e2e/database-away.test.ts',
  'e2e/health.test.ts',
  'e2e/health-check.test.ts',
  'e2e/join-by-rest.test.ts',
  'scripts/test-files.test.ts',
  'services/zimmer-13-api-coordinator/src/features/identity/identity.test.ts',
  'services/zimmer-13-api-coordinator/src/features/registry/registry.test.ts',
  'services/zimmer-13-api-coordinator/src/platform/database/postgres/open.test.ts',
  'services/zimmer-13-api-coordinator/src/platform/ledger/silence.test.ts',
])

const usage = `Usage: npm test -- [file or folder...] [options]

Without any: the checks and all tests. \`npm run check\` is the checks alone.

Options:
  --grep PATTERN            only tests whose name matches
  --checks-only             types, lint, format and the like; no tests
  --concurrency N           test files at a time (${defaultConcurrency})
  --file-timeout-seconds N  for one file (${defaultFileTimeoutMs / 1000})
  --help                    show this

Ends with 1 when anything fails. The last line counts the tests.
`

const { values: options, positionals: parts } = readArguments()

const children = new Children()
let server: PostgresServer | undefined
let runFolder: string | undefined
const startedMs = performance.now()

let interrupted = false
for (const [signal, exitCode] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  process.on(signal, () => {
    // npm passes a Ctrl-C on that the terminal has already delivered: the second one changes nothing.
    if (interrupted) return
    interrupted = true
    say(`Interrupted by ${signal}`)
    void stop().finally(() => process.exit(exitCode))
  })
}

const partial = parts.length > 0 || options.grep !== undefined
const [failedChecks, results] = await Promise.all([
  partial ? [] : runChecks(listChecks(root)),
  options['checks-only'] ? [] : runTests(selectFiles()),
])
if (!interrupted) {
  await stop()
  process.exitCode = report()
}

function readArguments() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        'checks-only': { type: 'boolean', default: false },
        grep: { type: 'string' },
        concurrency: { type: 'string' },
        'file-timeout-seconds': { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    if (!values.help) return { values, positionals }
  } catch (error) {
    // The sentences that follow the first are about file names that begin with a dash.
    const [sentence] = String(error instanceof Error ? error.message : error).split(/\.\s|\.?$/)
    process.stderr.write(`${sentence}.\n\n${usage}`)
    process.exit(2)
  }
  process.stdout.write(usage)
  process.exit(0)
}

async function stop(): Promise<void> {
  await children.stopAll()
  await server?.stop()
  if (runFolder !== undefined) rmSync(runFolder, { recursive: true, force: true })
}

async function runChecks(checks: readonly Check[]): Promise<Check[]> {
  const failed: Check[] = []
  for (const check of checks) {
    const beganMs = performance.now()
    const result = await children
      .run(check.command, check.args, {
        cwd: root,
        env: { ...process.env, ...check.env },
        timeoutMs: checkTimeoutMs,
      })
      .catch((error: Error) => ({ exitCode: undefined, timedOut: false, output: error.message }))
    if (interrupted) return failed
    const ok = result.exitCode === 0
    say(`${ok ? 'ok    ' : 'FAILED'} ${check.name} (${seconds(performance.now() - beganMs)})`)
    if (ok) continue
    failed.push(check)
    say(indent(result.output.trim()))
    if (result.timedOut) say(indent(`Ended after its deadline of ${seconds(checkTimeoutMs)}`))
    if (check.mend !== undefined) say(indent(`To mend: ${check.mend}`))
  }
  say(`checks: ${checks.length - failed.length} passed, ${failed.length} failed`)
  return failed
}

function selectFiles(): string[] {
  const found = findFiles(root, '{packages,services,scripts,bench,e2e}/**/*.test.ts')
  const isLong = (file: string): boolean => begunFirst.some((long) => file.startsWith(long))
  const all = [...found.filter(isLong), ...found.filter((file) => !isLong(file))]
  if (parts.length === 0) return all
  const chosen = new Set<string>()
  for (const part of parts) {
    const relative = path.relative(root, path.resolve(part)).split(path.sep).join('/')
    const matches = statSync(part, { throwIfNoEntry: false })?.isFile()
      ? [relative]
      : all.filter((file) => relative === '' || file.startsWith(`${relative}/`))
    if (matches.length === 0) {
      say(`There is no test file at ${part}`)
      process.exit(1)
    }
    for (const match of matches) chosen.add(match)
  }
  return [...chosen]
}

async function runTests(files: readonly string[]): Promise<FileResult[]> {
  const env: NodeJS.ProcessEnv = { ...process.env, ...sharedFolders() }
  const concurrency = Number(options.concurrency ?? defaultConcurrency)
  // A single file starts a server itself if it needs one at all.
  const needsServer = files.length > 1 && !env['HAUS_TEST_POSTGRES_URL']
  const [started] = await Promise.all([
    needsServer && postgresUnavailable() === undefined ? startPostgres() : undefined,
    partial ? undefined : compileHouse({ ...env }),
  ])
  server = started
  if (server !== undefined) env['HAUS_TEST_POSTGRES_URL'] = server.url
  return runTestFiles({
    root,
    files,
    mostlyWaiting: concurrency > 1 ? mostlyWaiting : new Set(),
    env,
    children,
    grep: options.grep,
    concurrency,
    fileTimeoutMs: Number(options['file-timeout-seconds'] ?? defaultFileTimeoutMs / 1000) * 1000,
    onResult: sayResult,
  }).catch((error: unknown) => {
    if (interrupted) return []
    throw error
  })
}

/** What every file of the run would otherwise make again: migrated databases, and compiled code. */
function sharedFolders(): NodeJS.ProcessEnv {
  runFolder = mkdtempSync(path.join(tmpdir(), 'haus-test-run-'))
  const templates = path.join(runFolder, 'templates')
  mkdirSync(templates)
  return { HAUS_TEST_TEMPLATES: templates, NODE_COMPILE_CACHE: path.join(runFolder, 'code') }
}

/** Without it each of the first houses compiles itself, for three quarters of a second: see the script. */
async function compileHouse(env: NodeJS.ProcessEnv): Promise<void> {
  const script = path.join(root, 'scripts/compile-house.ts')
  const timeoutMs = defaultFileTimeoutMs
  const args = [...compilerFlags, script]
  await children.run(process.execPath, args, { cwd: root, env, timeoutMs }).catch((error) => {
    if (!interrupted) throw error
  })
}

function sayResult(result: FileResult): void {
  if (interrupted) return
  const { failures, passed, skipped } = result
  const total = passed + skipped.length + failures.length
  if (total === 0) return
  const counts = skipped.length > 0 ? `${total} tests, ${skipped.length} skipped` : `${total} tests`
  const word = failures.length === 0 ? 'ok    ' : 'FAILED'
  say(`${word} ${result.file} (${counts}, ${seconds(result.durationMs)})`)
  for (const failure of failures) {
    const line = failure.line === undefined ? '' : `:${failure.line}`
    say(indent(`✖ ${failure.name}\n  ${result.file}${line}`))
    say(indent(indent(failure.error)))
  }
  const output = result.output.trim()
  if (failures.length > 0 && output !== '') say(indent(`Output of the file:\n${indent(output)}`))
}

/** Returns the exit code. The counts are the last line: programs read it. */
function report(): number {
  const failures = results.flatMap((result) => result.failures)
  const skipped = results.flatMap((result) => result.skipped.map((s) => ({ ...s, ...result })))
  const passed = results.reduce((sum, result) => sum + result.passed, 0)
  say('')
  for (const reason of new Set(skipped.map((s) => s.reason))) {
    say(`skipped ${skipped.filter((s) => s.reason === reason).length}: ${reason}`)
  }
  if (failedChecks.length > 0) say(`Failed checks: ${failedChecks.map((c) => c.name).join(', ')}`)
  if (failures.length > 0) say('Failed tests:')
  for (const failure of failures) say(indent(`✖ ${failure.name} (${failure.file})`))
  say(`took ${seconds(performance.now() - startedMs)}`)
  if (!options['checks-only']) {
    say(`tests: ${passed} passed, ${failures.length} failed, ${skipped.length} skipped`)
  }
  return failures.length > 0 || failedChecks.length > 0 ? 1 : 0
}

function seconds(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(1)} s`
}

function indent(text: string): string {
  return text.replaceAll(/^(?=.)/gm, '    ')
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
