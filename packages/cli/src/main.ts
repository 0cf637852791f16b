/** The process: arguments, environment, streams, signals, exit code. The only module that touches `process`. */
import { readFileSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { fileURLToPath } from 'node:url'
import type { Look, Output } from './surroundings.ts'

// Half of a short run is compiling. The cache lies in the clone and not in the folder for temporary
// files, where somebody else could leave code for us; where it cannot be written, nothing is lost.
enableCompileCache(fileURLToPath(new URL('../../../node_modules/.cache/haus', import.meta.url)))
const { runCli } = await import('./run-cli.ts')
const { rootCommand } = await import('./commands/index.ts')

const { env, stdout, stderr } = process

/** https://no-color.org, and FORCE_COLOR as Node reads it; a dumb terminal has no colours. */
function lookOf(stream: NodeJS.WriteStream): Look {
  const forced = env['FORCE_COLOR'] !== undefined && env['FORCE_COLOR'] !== '0'
  const refused = env['NO_COLOR'] !== undefined && env['NO_COLOR'] !== ''
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || ''
  return {
    colour: !refused && (forced || (stream.isTTY && env['TERM'] !== 'dumb')),
    unicode: stream.isTTY && /utf-?8/i.test(locale),
  }
}

function outputOf(stream: NodeJS.WriteStream): Output {
  // Read at each use: the person may change the size of the window.
  return {
    write: (text) => stream.write(text),
    isTTY: stream.isTTY,
    get columns() {
      return stream.isTTY ? stream.columns : undefined
    },
  }
}

function versionOfPackage(): string {
  const file = new URL('../package.json', import.meta.url)
  const parsed: unknown = JSON.parse(readFileSync(file, 'utf8'))
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed
    ? String(parsed.version)
    : 'unknown'
}

// `haus audit | head -1`: whoever read has read enough, which is no error of anybody.
for (const stream of [stdout, stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? 0 : 70)
  })
}

process.exitCode = await runCli(
  { root: rootCommand, version: versionOfPackage() },
  process.argv.slice(2),
  {
    env,
    cwd: process.cwd(),
    stdin: process.stdin,
    stdout: outputOf(stdout),
    stderr: outputOf(stderr),
    look: { stdout: lookOf(stdout), stderr: lookOf(stderr) },
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
    pid: process.pid,
  },
)
