/**
 * What a command is: a value. Parsing, help, completion and the reference page are made from the
 * same table, so none of them can know an option that the others do not.
 */
import type { Context } from './context.ts'
import type { ParsedArguments } from './parse-arguments.ts'

/** What can be completed from the house or the disk; an array: exactly these words. */
export type Completion = 'service' | 'credential' | 'file' | readonly string[]

export interface Option {
  readonly name: string
  readonly short?: string
  /** How help writes the value, such as `FILE`; absent: the option is a switch. */
  readonly value?: string
  readonly many?: boolean
  readonly summary: string
  readonly complete?: Completion
}

export interface Positional {
  readonly name: string
  readonly summary: string
  readonly optional?: boolean
  readonly many?: boolean
  readonly complete?: Completion
}

export interface Command {
  readonly name: string
  /** One line, without a full stop. */
  readonly summary: string
  /** Paragraphs. */
  readonly description?: readonly string[]
  readonly positionals?: readonly Positional[]
  readonly options?: readonly Option[]
  /** Speaks with the house: takes the options that say where it is. */
  readonly house?: boolean
  /** Takes everything after `--` as it is. */
  readonly program?: boolean
  /** For programs, not for people: not shown. */
  readonly hidden?: boolean
  readonly examples?: readonly (readonly [line: string, meaning: string])[]
  readonly subcommands?: readonly Command[]
  /** @returns the exit code. Absent: only its subcommands run. */
  readonly run?: (context: Context, args: ParsedArguments) => Promise<number>
}

export const helpOption: Option = {
  name: 'help',
  short: 'h',
  summary: 'show this',
}

export const jsonOption: Option = {
  name: 'json',
  summary: 'the answer of the API as JSON',
}

export const houseOptions: readonly Option[] = [
  {
    name: 'url',
    value: 'URL',
    summary: 'where the house is (HAUS_URL; else the endpoints.json of the data folder)',
  },
  {
    name: 'token-file',
    value: 'FILE',
    summary: 'whose token speaks (HAUS_TOKEN_FILE; else the operator.token of the data folder)',
    complete: 'file',
  },
  jsonOption,
]

/** Every option a command understands, its own first. */
export function optionsOf(command: Command): readonly Option[] {
  return [...(command.options ?? []), ...(command.house ? houseOptions : []), helpOption]
}
