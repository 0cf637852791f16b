/** A program of somebody else: started without a shell, with our own streams, and watched until it ends. */
import { spawn } from 'node:child_process'
import { constants } from 'node:os'

export interface Ended {
  readonly exitCode: number | null
  readonly signal: NodeJS.Signals | null
}

export interface Child {
  readonly pid: number
  readonly ended: Promise<Ended>
  /** Does nothing once it has ended. */
  signal(name: NodeJS.Signals): void
}

export interface ProgramLine {
  readonly program: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
}

/** Rejects with a system error when it cannot be started. */
export function startChild({ program, args, env, cwd }: ProgramLine): Promise<Child> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd, env: { ...env }, stdio: 'inherit' })
    child.once('error', reject)
    child.once('spawn', () => {
      const { pid } = child
      if (pid === undefined) throw new Error('a program that has been spawned has a process id')
      // Signals that cannot be sent are reported as errors too; whoever has ended needs none.
      child.on('error', () => {})
      resolve({ pid, ended, signal: (name) => void child.kill(name) })
    })
    const ended = new Promise<Ended>((ends) => {
      child.once('exit', (exitCode, signal) => ends({ exitCode, signal }))
    })
  })
}

/** As shells have it: 128 and the number of the signal. */
export function exitCodeOf({ exitCode, signal }: Ended): number {
  return signal === null ? (exitCode ?? 0) : 128 + constants.signals[signal]
}

const names = Object.keys(constants.signals)

/** `HUP`, `SIGHUP`, `sighup`; undefined for what is none. */
export function parseSignal(text: string): NodeJS.Signals | undefined {
  const name = `SIG${text.toUpperCase().replace(/^SIG/, '')}`
  return names.includes(name) ? signalNames.find((each) => each === name) : undefined
}

/** Those that a program can use for "read your files again". */
const signalNames = ['SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH', 'SIGINT', 'SIGTERM'] as const
