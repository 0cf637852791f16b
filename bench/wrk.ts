/** wrk, the load generator that gateways are usually measured with; its words turned into numbers. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

export interface WrkRun {
  readonly requests: number
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Statuses that are not 2xx or 3xx, and every kind of socket error. */
  readonly failed: number
}

export interface WrkPlan {
  readonly url: string
  readonly connections: number
  readonly seconds: number
  readonly headers: readonly string[]
  /** It and nothing else of the measurement runs there; null: wherever there is room. */
  readonly core: number | null
}

/** Beyond the run itself: it waits for its last answers. */
const graceMs = 15_000

export async function runWrk(plan: WrkPlan): Promise<WrkRun> {
  const { url, connections, seconds, headers, core } = plan
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--latency', '--timeout', '10s']
  args.push(...headers.flatMap((header) => ['-H', header]), url)
  const pinned = core === null ? [] : ['-c', String(core), 'wrk']
  const { stdout } = await promisify(execFile)(
    core === null ? 'wrk' : 'taskset',
    [...pinned, ...args],
    { timeout: seconds * 1000 + graceMs },
  )
  return readWrk(stdout)
}

export function readWrk(output: string): WrkRun {
  const number = (pattern: RegExp): number => Number(pattern.exec(output)?.[1] ?? 0)
  const requests = number(/(\d+) requests in /)
  if (requests === 0) throw new Error(`wrk had no answer: ${output}`)
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(output)
  const socketErrors = (errors ?? []).slice(1).reduce((sum, count) => sum + Number(count), 0)
  return {
    requests,
    perSecond: number(/Requests\/sec:\s+([\d.]+)/),
    p50Ms: milliseconds(/ 50%\s+(\S+)/.exec(output)?.[1]),
    p99Ms: milliseconds(/ 99%\s+(\S+)/.exec(output)?.[1]),
    failed: number(/Non-2xx or 3xx responses: (\d+)/) + socketErrors,
  }
}

function milliseconds(text = ''): number {
  const [, value, unit] = /^([\d.]+)(us|ms|s|m)$/.exec(text) ?? []
  const factor = { us: 0.001, ms: 1, s: 1_000, m: 60_000 }[unit ?? ''] ?? Number.NaN
  return Number(value) * factor
}
