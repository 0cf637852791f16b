/** What the program takes from its process, handed in by main.ts so that tests can hand in others. */
import type { Readable } from 'node:stream'

export interface Output {
  write(text: string): unknown
  readonly isTTY: boolean
  /** Width of the terminal; undefined when it is none. */
  readonly columns: number | undefined
}

export interface Input extends Readable {
  readonly isTTY?: boolean
  setRawMode?(on: boolean): unknown
}

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly stdin: Input
  readonly stdout: Output
  readonly stderr: Output
  /** Colours and signs beyond ASCII, decided once. */
  readonly look: { readonly stdout: Look; readonly stderr: Look }
  readonly nowMs: () => number
  /** Replaces this process by another program. */
  readonly become: (file: string, args: readonly string[]) => never
  /** Asks to be called on a signal instead of the default action; the function gives it back. */
  readonly onSignal: (signal: NodeJS.Signals, handle: () => void) => () => void
  readonly execPath: string
  /** Ctrl-C reaches us and every program we start. */
  readonly onTerminal: boolean
  readonly pid: number
  /** Whether a process of that id runs. */
  readonly isAlive: (pid: number) => boolean
}

export interface Look {
  readonly colour: boolean
  readonly unicode: boolean
}
