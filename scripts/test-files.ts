/**
 * Runs test files, each in a process of its own, and tells what happened to every test.
 *
 * A file counts as failed by itself when it cannot be loaded, contains no test, runs past its
 * deadline (the tests under way are named) or does not end after its last test.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import type { ChildResult, Children } from './children.ts'
import { lingeringExitCode, type ReportLine } from './test-reporter.ts'

export type Failure = {
  readonly file: string
  readonly name: string
  readonly line: number | undefined
  readonly error: string
}

export type FileResult = {
  readonly file: string
  readonly durationMs: number
  readonly passed: number
  readonly skipped: readonly { name: string; reason: string }[]
  readonly failures: readonly Failure[]
  readonly output: string
}

export type TestRun = {
  readonly root: string
  readonly files: readonly string[]
  /** Of the files those that mostly wait: they follow each other beside the others. */
  readonly mostlyWaiting: ReadonlySet<string>
  readonly concurrency: number
  readonly fileTimeoutMs: number
  readonly env: NodeJS.ProcessEnv
  readonly children: Children
  /** Only tests whose name matches. */
  readonly grep?: string | undefined
  readonly onResult: (result: FileResult) => void
}

/**
 * The database of a test lives for seconds: to compile its warm functions again takes a fifth of a
 * file's processor time and never pays. Houses and programs that it starts take this over.
 */
export const compilerFlags = ['--no-wasm-tier-up', '--no-wasm-dynamic-tiering']

export async function runTestFiles(run: TestRun): Promise<FileResult[]> {
  const reports = await mkdtemp(path.join(tmpdir(), 'haus-test-reports-'))
  const busy = run.files.filter((file) => !run.mostlyWaiting.has(file))
  const quiet = run.files.filter((file) => run.mostlyWaiting.has(file))
  const results: FileResult[] = []
  const work = async (queue: string[]): Promise<void> => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const report = path.join(reports, `${busy.length}-${quiet.length}.jsonl`)
      const result = await runFile(run, file, report)
      results.push(result)
      run.onResult(result)
    }
  }
  try {
    const busyOnes = Array.from({ length: run.concurrency }, () => work(busy))
    await Promise.all([...busyOnes, work(quiet)])
  } finally {
    await rm(reports, { recursive: true, force: true })
  }
  return results
}

async function runFile(run: TestRun, file: string, report: string): Promise<FileResult> {
  const startedMs = performance.now()
  const startedFile = `${report}.started`
  const child = await run.children.run(
    process.execPath,
    [
      ...compilerFlags,
      `--test-reporter=${path.join(import.meta.dirname, 'test-reporter.ts')}`,
      `--test-reporter-destination=${report}`,
      `--import=${pathToFileURL(path.join(import.meta.dirname, 'test-started.ts')).href}`,
      ...(run.grep === undefined ? [] : [`--test-name-pattern=${run.grep}`]),
      file,
    ],
    {
      cwd: run.root,
      env: { ...run.env, HAUS_TEST_STARTED_FILE: startedFile },
      timeoutMs: run.fileTimeoutMs,
    },
  )
  const lines = parseReport(await readFile(report, 'utf8').catch(() => ''))
  const summary = summarise(file, lines)
  const last = await readFile(startedFile, 'utf8').catch(() => undefined)
  const own = failureOfFile(run, file, child, summary, last)
  return {
    file,
    durationMs: performance.now() - startedMs,
    passed: summary.passed,
    skipped: summary.skipped,
    failures: own === undefined ? summary.failures : [...summary.failures, own],
    output: child.output,
  }
}

type Summary = Pick<FileResult, 'passed' | 'skipped' | 'failures'> & {
  readonly unfinished: readonly string[]
}

/** The last line may be cut off when the process was killed. */
function parseReport(text: string): ReportLine[] {
  const complete = text.slice(0, text.lastIndexOf('\n') + 1)
  return complete
    .split('\n')
    .filter(Boolean)
    .map((line): ReportLine => JSON.parse(line))
}

function summarise(file: string, lines: readonly ReportLine[]): Summary {
  const started = new Map<number, { name: string; line: number | undefined }>()
  const unfinished = new Map<number, string>()
  const skipped: { name: string; reason: string }[] = []
  const failures: Failure[] = []
  const suites = new Set<number>()
  let passed = 0
  const known = (id: number) => started.get(id) ?? { name: `test ${id}`, line: undefined }
  for (const entry of lines) {
    if (entry.event === 'start') {
      const parent = started.get(entry.parent)
      const name = parent === undefined ? entry.name : `${parent.name} > ${entry.name}`
      started.set(entry.id, { name, line: entry.line })
      unfinished.set(entry.id, name)
    } else if (entry.event === 'end') {
      unfinished.delete(entry.id)
      if (entry.suite) suites.add(entry.id)
      else if (entry.outcome === 'passed') passed += 1
    } else if (entry.event === 'skip') {
      if (!suites.has(entry.id)) skipped.push({ ...known(entry.id), reason: entry.reason })
    } else if (!(entry.ofChild && suites.has(entry.id))) {
      const error = entry.ofChild ? 'a test inside it failed' : entry.error
      failures.push({ file, ...known(entry.id), error })
    }
  }
  return { passed, skipped, failures, unfinished: [...unfinished.values()] }
}

function failureOfFile(
  run: TestRun,
  file: string,
  child: ChildResult,
  summary: Summary,
  lastStarted: string | undefined,
): Failure | undefined {
  const fail = (name: string, error: string): Failure => ({ file, name, line: undefined, error })
  const under = summary.unfinished
  if (child.timedOut) {
    const name = under.at(-1) ?? lastStarted
    const what =
      under.length > 0
        ? `Under way at that moment: ${under.join('; ')}`
        : name === undefined
          ? 'No test had started: it hangs while loading'
          : `The last test to start was ${name}: it blocks its thread`
    const seconds = run.fileTimeoutMs / 1000
    return fail(name ?? '(whole file)', `Ended after its deadline of ${seconds} s. ${what}`)
  }
  if (child.exitCode === lingeringExitCode) {
    return fail('(end of file)', 'The process did not end after its last test; see the output')
  }
  if (child.exitCode !== 0 && summary.failures.length === 0) {
    const how = child.signal ?? `exit code ${child.exitCode}`
    const during = under.length > 0 ? ` during: ${under.join('; ')}` : ''
    return fail('(whole file)', `The process ended with ${how}${during}`)
  }
  const seen = summary.passed + summary.skipped.length + summary.failures.length
  if (seen === 0 && run.grep === undefined) return fail('(whole file)', 'It contains no test')
  return undefined
}
