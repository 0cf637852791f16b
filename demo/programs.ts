/** Real programs as child processes, which end with the demo whatever happens to it. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { plainEnvironment } from '../e2e/plain-environment.ts'

/** Enough to explain a failure. */
const outputLimitChars = 16 * 1024
const stopDeadlineMs = 10_000

export interface Program extends AsyncDisposable {
  readonly pid: number
  readonly running: boolean
  output(): string
  kill9(): Promise<void>
  /** SIGTERM, and its exit code. */
  stop(): Promise<number | null>
}

export function startProgram(
  command: string,
  args: readonly string[],
  options: { readonly cwd: string; readonly env: Readonly<Record<string, string>> },
): Program {
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: { ...plainEnvironment(), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  child.on('error', (error) => note(`${command}: ${error.message}\n`))
  let output = ''
  const note = (text: string): void => {
    output = (output + text).slice(-outputLimitChars)
  }
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', note)
  }
  const killAtExit = (): void => void child.kill('SIGKILL')
  process.once('exit', killAtExit)
  void ended(child).then(() => process.off('exit', killAtExit))

  const end = async (signal: NodeJS.Signals): Promise<number | null> => {
    if (!isRunning(child)) return child.exitCode
    const gone = ended(child)
    child.kill(signal)
    const timer = setTimeout(() => child.kill('SIGKILL'), stopDeadlineMs)
    await gone
    clearTimeout(timer)
    return child.exitCode
  }
  return {
    pid: child.pid ?? -1,
    get running() {
      return isRunning(child)
    },
    output: () => output,
    kill9: async () => void (await end('SIGKILL')),
    stop: () => end('SIGTERM'),
    [Symbol.asyncDispose]: async () => void (await end('SIGTERM')),
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null
}

async function ended(child: ChildProcess): Promise<void> {
  if (isRunning(child)) await once(child, 'exit')
}
