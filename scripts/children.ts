/**
 * Child processes of the test run. Each leads a process group of its own, so that ending it ends
 * whatever it started, and none outlives an interrupted run.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'

export type ChildResult = {
  readonly exitCode: number | undefined
  readonly signal: NodeJS.Signals | undefined
  readonly timedOut: boolean
  /** stdout and stderr as they came, shortened at the front. */
  readonly output: string
}

/** The end of the output explains a failure; a test gone wild must not fill the memory. */
const outputLimitChars = 256 * 1024
/** What a child gets between the polite and the final signal. */
const graceMs = 3_000

export class Children {
  readonly #groups = new Set<number>()
  #stopping = false

  async run(
    command: string,
    args: readonly string[],
    options: { cwd: string; env?: NodeJS.ProcessEnv; timeoutMs: number },
  ): Promise<ChildResult> {
    if (this.#stopping) throw new Error('The run is being stopped')
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        output = (output + chunk).slice(-outputLimitChars)
      })
    }
    const { pid } = child
    if (pid === undefined) {
      const [error] = await once(child, 'error')
      throw error
    }
    this.#groups.add(pid)
    let timedOut = false
    const timer = setTimeout(() => {
      timedOut = true
      void endGroup(pid)
    }, options.timeoutMs)
    const [exitCode, signal] = await once(child, 'exit')
    clearTimeout(timer)
    // Helpers a test left behind; they would also keep the output pipes open.
    signalGroup(pid, 'SIGKILL')
    this.#groups.delete(pid)
    if (!child.stdout.closed || !child.stderr.closed) {
      await Promise.race([once(child, 'close'), delay(1_000, undefined, { ref: false })])
    }
    return { exitCode: exitCode ?? undefined, signal: signal ?? undefined, timedOut, output }
  }

  async stopAll(): Promise<void> {
    this.#stopping = true
    await Promise.all([...this.#groups].map(endGroup))
  }
}

async function endGroup(pid: number): Promise<void> {
  signalGroup(pid, 'SIGTERM')
  const deadline = performance.now() + graceMs
  while (performance.now() < deadline) {
    await delay(50)
    if (!signalGroup(pid, 0)) return
  }
  signalGroup(pid, 'SIGKILL')
}

function signalGroup(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-pid, signal)
  } catch {
    return false
  }
}
