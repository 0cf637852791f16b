/**
 * Runs inside every test process and writes one JSON line per event for `test-files.ts`: what
 * started, how it ended, and with which error in full.
 *
 * It also ends its process in two cases that would otherwise wait for a deadline or for ever:
 * the run that started it is gone, or every test has ended and something still holds the
 * process open.
 */
import { inspect } from 'node:util'
import type { TestEvent } from 'node:test/reporters'

export type ReportLine =
  | { event: 'start'; id: number; parent: number; name: string; line: number | undefined }
  | { event: 'end'; id: number; outcome: 'passed' | 'failed' | 'skipped'; suite: boolean }
  | { event: 'failure'; id: number; error: string; ofChild: boolean }
  | { event: 'skip'; id: number; reason: string }

/** Setup between two tests at the top level of a file may take seconds, not this long. */
const lingerLimitMs = 15_000
const checkIntervalMs = 1_000
export const lingeringExitCode = 70

export default async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const open = new Set<number>()
  let lastEndMs: number | undefined
  const startedBy = process.ppid
  const watch = setInterval(() => {
    // The whole group: what a test started must not outlive an abandoned run either.
    if (process.ppid !== startedBy) process.kill(0, 'SIGKILL')
    const idleMs = performance.now() - (lastEndMs ?? Infinity)
    if (open.size > 0 || idleMs < lingerLimitMs) return
    const held = [...new Set(process.getActiveResourcesInfo())].join(', ')
    process.stderr.write(`Every test has ended, but the process is held open by: ${held}\n`)
    process.exit(lingeringExitCode)
  }, checkIntervalMs)
  watch.unref()

  for await (const { type, data } of source) {
    if (type === 'test:enqueue') {
      open.add(data.testId)
      const { testId: id, parentId: parent = 0, name, line } = data
      yield write({ event: 'start', id, parent, name, line })
    } else if (type === 'test:pass' || type === 'test:fail') {
      const id = data.testId
      open.delete(id)
      lastEndMs = performance.now()
      const skipped = data.skip !== undefined || data.todo !== undefined
      const outcome = skipped ? 'skipped' : type === 'test:pass' ? 'passed' : 'failed'
      yield write({ event: 'end', id, outcome, suite: data.details.type === 'suite' })
      if (outcome === 'skipped') {
        yield write({ event: 'skip', id, reason: String(data.skip ?? data.todo) })
      } else if (type === 'test:fail') {
        const { error } = data.details
        const ofChild = 'failureType' in error && error.failureType === 'subtestsFailed'
        yield write({ event: 'failure', id, ofChild, error: readable(error.cause ?? error) })
      }
    }
  }
  clearInterval(watch)
}

function readable(error: unknown): string {
  return typeof error === 'string' ? error : inspect(error, { depth: 6, breakLength: 100 })
}

function write(line: ReportLine): string {
  return `${JSON.stringify(line)}\n`
}
