/** The process: arguments, environment, streams, signals, exit code. The only module that touches `process`. */
import { readFileSync, writeSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { isatty } from 'node:tty'
import { fileURLToPath } from 'node:url'
import type { Look, Output } from './surroundings.ts'

// Half of a short run is compiling. The cache lies in the clone and not in the folder for temporary
// files, where somebody else could leave code for us; where it cannot be written, nothing is lost.
enableCompileCache(fileURLToPath(new URL('../../../node_modules/.cache/haus', import.meta.url)))
const { runCli } = await import('./run-cli.ts')
const { rootCommand } = await import('./commands/index.ts')

const { env } = process

/** https://no-color.org, and FORCE_COLOR as Node reads it; a dumb terminal has no colours. */
function lookOf(onTerminal: boolean): Look {
  const forced = env['FORCE_COLOR'] !== undefined && env['FORCE_COLOR'] !== '0'
  const refused = env['NO_COLOR'] !== undefined && env['NO_COLOR'] !== ''
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || ''
  return {
    colour: !refused && (forced || (onTerminal && env['TERM'] !== 'dumb')),
    unicode: onTerminal && /utf-?8/i.test(locale),
  }
}

/**
 * Written to the descriptor, not through `process.stdout`: that one sets a pipe to non-blocking for
 * everybody who has it, and a program started by `haus run` would lose what it writes to a slow reader.
 */
function outputOf(descriptor: 1 | 2): Output {
  const onTerminal = isatty(descriptor)
  return {
    write: (text) => writeAll(descriptor, Buffer.from(text)),
    isTTY: onTerminal,
    // Read at each use: the person may change the size of the window.
    get columns() {
      if (!onTerminal) return undefined
      return (descriptor === 1 ? process.stdout : process.stderr).columns
    },
  }
}

function writeAll(descriptor: number, bytes: Buffer): void {
  for (let rest = bytes; rest.length > 0;) {
    try {
      rest = rest.subarray(writeSync(descriptor, rest))
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined
      // Nobody hears what is said beside the results, such as a terminal that was closed or a logger
      // that ended. The work goes on: `haus run` has a program to look after and secrets to remove.
      if (descriptor === 2 && (code === 'EPIPE' || code === 'EIO')) return
      // `haus audit | head -1`: whoever reads has read enough, which is no error of anybody.
      if (code === 'EPIPE') process.exit(0)
      if (code !== 'EAGAIN') throw error
      // Somebody else made it non-blocking, and its reader is slow.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10)
    }
  }
}

function versionOfPackage(): string {
  const file = new URL('../package.json', import.meta.url)
  const parsed: unknown = JSON.parse(readFileSync(file, 'utf8'))
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed
    ? String(parsed.version)
    : 'unknown'
}

const exitCode = await runCli(
  { root: rootCommand, version: versionOfPackage() },
  process.argv.slice(2),
  {
    env,
    cwd: process.cwd(),
    // Made at its first use, for the same reason as below: a program that is run has it for itself.
    get stdin() {
      return process.stdin
    },
    stdout: outputOf(1),
    stderr: outputOf(2),
    look: { stdout: lookOf(isatty(1)), stderr: lookOf(isatty(2)) },
    nowMs: () => Date.now(),
    become: (file, args) => {
      if (process.execve === undefined) throw new Error('this system cannot replace a process')
      // The environment as it is: nothing was added to it.
      return process.execve(file, [file, ...args], process.env)
    },
    onSignal: (signal, handle) => {
      process.on(signal, handle)
      return () => process.off(signal, handle)
    },
    execPath: process.execPath,
    onTerminal: isatty(0),
    pid: process.pid,
    isAlive: (pid) => {
      try {
        return process.kill(pid, 0)
      } catch (error) {
        // It is there and belongs to somebody else.
        return error instanceof Error && 'code' in error && error.code === 'EPERM'
      }
    },
  },
)
process.exit(exitCode)
