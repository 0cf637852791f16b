/**
 * Results go to standard output, everything that is said about them to standard error: a pipe gets
 * nothing but the result.
 */
import type { Surroundings } from '../surroundings.ts'
import type { Tone } from './colour.ts'
import { stateText, toned, toneOf } from './colour.ts'
import type { Cell, Column } from './table.ts'
import { renderFields, renderTable } from './table.ts'

export class Screen {
  readonly #surroundings: Surroundings

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings
  }

  get nowMs(): number {
    return this.#surroundings.nowMs()
  }

  get onTerminal(): boolean {
    return this.#surroundings.stdout.isTTY
  }

  /** As it is. */
  print(text: string): void {
    this.#surroundings.stdout.write(text)
  }

  /** One sentence about what was done, or what to do next. */
  note(text: string): void {
    this.#surroundings.stderr.write(`${text}\n`)
  }

  /** For people indented, for programs one line. */
  json(value: unknown): void {
    this.print(`${JSON.stringify(value, null, this.onTerminal ? 2 : undefined)}\n`)
  }

  table(columns: readonly Column[], rows: readonly (readonly (Cell | string)[])[]): void {
    const { stdout, look } = this.#surroundings
    const room = stdout.isTTY ? stdout.columns : undefined
    this.print(renderTable(columns, rows, { ...look.stdout, columns: room }))
  }

  fields(fields: readonly (readonly [string, Cell | string | null])[]): void {
    this.print(renderFields(fields, this.#surroundings.look.stdout))
  }

  toned(text: string, tone: Tone | undefined): string {
    return toned(text, tone, this.#surroundings.look.stdout)
  }

  state(word: string): Cell {
    return { text: stateText(word, this.#surroundings.look.stdout), tone: toneOf(word) }
  }
}
