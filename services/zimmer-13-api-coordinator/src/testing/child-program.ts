/** Runs a program of a test in a process of its own, line by line, so that it can be killed. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export interface ChildProgram {
  readonly pid: number
  /** Every line it wrote so far; complete once `ended` has resolved. */
  readonly lines: readonly string[]
  /** Resolves with the first line that matches; rejects when the program ends without it. */
  line(pattern: RegExp): Promise<string>
  kill(signal?: NodeJS.Signals): void
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
}

/** In a run of all tests a child lives for seconds, as their own databases do: see `scripts/test-files.ts`. */
export function inheritedCompilerFlags(): string[] {
  return process.execArgv.filter((argument) => argument.startsWith('--no-wasm-'))
}

export function runChild(
  program: URL,
  args: readonly string[],
  options: { execArgv?: readonly string[]; env?: Record<string, string> } = {},
): ChildProgram {
  const child = spawn(
    process.execPath,
    [...inheritedCompilerFlags(), ...(options.execArgv ?? []), fileURLToPath(program), ...args],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...options.env } },
  )
  const lines: string[] = []
  const waiting = new Set<() => void>()
  const reader = createInterface({ input: child.stdout })
  reader.on('line', (line) => {
    lines.push(line)
    for (const look of waiting) look()
  })
  const ended = Promise.all([once(child, 'exit'), once(reader, 'close')]).then(
    ([[code, signal]]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
    }),
  )
  if (child.pid === undefined) throw new Error(`${program.href} cannot be started`)
  return {
    pid: child.pid,
    lines,
    line: async (pattern) => {
      const { promise, resolve } = Promise.withResolvers<string>()
      const look = (): void => {
        const found = lines.find((line) => pattern.test(line))
        if (found !== undefined) resolve(found)
      }
      waiting.add(look)
      look()
      const found = await Promise.race([promise, ended.then(() => undefined)])
      waiting.delete(look)
      if (found === undefined) {
        throw new Error(
          `the program ended without a line like ${String(pattern)}: ${lines.join('\n')}`,
        )
      }
      return found
    },
    kill: (signal = 'SIGKILL') => void child.kill(signal),
    ended,
  }
}
