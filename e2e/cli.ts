/**
 * Runs `haus`: as a process of its own, or in this one, which is ten times faster and the same
 * program with other streams. Nothing of our environment is handed on.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import path from 'node:path'
import { Readable } from 'node:stream'
import { rootCommand } from '../packages/cli/src/commands/index.ts'
import { runCli } from '../packages/cli/src/run-cli.ts'
import { repositoryRoot } from './harness.ts'
import { plainEnvironment } from './plain-environment.ts'

const mainFile = path.join(repositoryRoot, 'packages/cli/src/main.ts')

export interface Ran {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** What standard input holds. */
  readonly input?: string
  /** As on a terminal of that width. */
  readonly columns?: number
}

export async function runHaus(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const { env = {}, cwd = repositoryRoot, input = '', columns } = options
  const onTerminal = columns !== undefined
  let stdout = ''
  let stderr = ''
  const look = { colour: onTerminal, unicode: onTerminal }
  const exitCode = await runCli({ root: rootCommand, version: '0.1.0' }, args, {
    env,
    cwd,
    stdin: Object.assign(Readable.from(input === '' ? [] : [Buffer.from(input)]), {
      isTTY: onTerminal,
    }),
    stdout: { isTTY: onTerminal, columns, write: (text) => (stdout += text) },
    stderr: { isTTY: onTerminal, columns, write: (text) => (stderr += text) },
    look: { stdout: look, stderr: look },
    nowMs: () => Date.now(),
    become: () => {
      throw new Error('only a process of its own can become another program')
    },
    onSignal: () => () => {},
    execPath: process.execPath,
    onTerminal,
    pid: process.pid,
    isAlive: () => true,
  })
  return { exitCode, stdout, stderr }
}

export function spawnHaus(args: readonly string[], { env, cwd }: RunOptions = {}): ChildProcess {
  return spawn(process.execPath, [mainFile, ...args], {
    cwd: cwd ?? repositoryRoot,
    env: cliEnvironment(env),
    stdio: ['pipe', 'pipe', 'pipe'],
  })
}

export function cliEnvironment(env: RunOptions['env'] = {}): Record<string, string> {
  return { ...plainEnvironment(), TZ: 'UTC', ...env }
}
