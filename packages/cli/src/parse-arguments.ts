/**
 * From words to a command with its arguments. Node's own parser splits them; what is wrong with them
 * is said here, with the name that was probably meant.
 *
 * A value of an argument is never quoted in a refusal: somebody may have typed a secret there.
 */
import { parseArgs } from 'node:util'
import { closestName } from '@haus/contract/closest-name'
import type { Command, Option } from './command.ts'
import { helpOption, houseOptions, optionsOf } from './command.ts'
import { usageFailure } from './failure.ts'

export interface Invocation {
  /** From the root down to the one meant. */
  readonly path: readonly Command[]
  readonly command: Command
  /** Its words, without its name. */
  readonly words: readonly string[]
}

/** Options that may stand before the command: `haus --url X status`. */
const leadingOptions = [...houseOptions, helpOption]

/** @throws Failure usage */
export function findCommand(root: Command, argv: readonly string[]): Invocation {
  const words = [...argv]
  const path = [root]
  for (;;) {
    const command = path.at(-1) ?? root
    const at = firstPositional(words, command === root ? leadingOptions : everyOptionBelow(command))
    const word = at === undefined ? undefined : words[at]
    const found = command.subcommands?.find(({ name }) => name === word)
    if (at === undefined || found === undefined) {
      if (word !== undefined) refuseUnknown(path, word)
      return { path, command, words }
    }
    words.splice(at, 1)
    path.push(found)
  }
}

/** A word where a subcommand should be; a command that takes words of its own takes it. */
function refuseUnknown(path: readonly Command[], word: string): void {
  const command = path.at(-1)
  const known = command?.subcommands?.map(({ name }) => name)
  if (!known || (command?.positionals?.length ?? 0) > 0) return
  const near = closestName(word, known)
  const line = nameOf(path)
  throw usageFailure(
    path.length === 1 ? `There is no command of that name.` : `${line} has no such subcommand.`,
    near === null ? `It has: ${known.join(', ')}.` : `Did you mean \`${line} ${near}\`?`,
  )
}

export function nameOf(path: readonly Command[]): string {
  return path.map(({ name }) => name).join(' ')
}

/** The words that mean something after the command's name may come before its subcommand's. */
function everyOptionBelow(command: Command): readonly Option[] {
  return [...optionsOf(command), ...(command.subcommands ?? []).flatMap((sub) => optionsOf(sub))]
}

function firstPositional(words: readonly string[], options: readonly Option[]): number | undefined {
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? ''
    if (word === '--') return undefined
    if (!word.startsWith('-') || word === '-') return at
    const option = options.find(({ name, short }) => word === `--${name}` || word === `-${short}`)
    if (option?.value !== undefined) at += 1
  }
  return undefined
}

export class ParsedArguments {
  readonly #values: ReadonlyMap<string, readonly (string | true)[]>
  readonly positionals: readonly string[]
  /** Everything after `--`, as it came; undefined without one. */
  readonly program: readonly string[] | undefined

  constructor(
    values: ReadonlyMap<string, readonly (string | true)[]>,
    positionals: readonly string[],
    program: readonly string[] | undefined,
  ) {
    this.#values = values
    this.positionals = positionals
    this.program = program
  }

  flag(name: string): boolean {
    return this.#values.has(name)
  }

  /** The last one wins, as everywhere on command lines. */
  text(name: string): string | undefined {
    return this.list(name).at(-1)
  }

  list(name: string): readonly string[] {
    return (this.#values.get(name) ?? []).filter((value) => value !== true)
  }

  positional(place: number): string {
    const value = this.positionals[place]
    if (value === undefined) throw new Error(`positional ${place} is not declared`)
    return value
  }

  integer(name: string, bounds: { min: number; max: number }): number | undefined {
    const text = this.text(name)
    return text === undefined ? undefined : parseInteger(`--${name}`, text, bounds)
  }
}

export function parseInteger(
  what: string,
  text: string,
  { min, max }: { min: number; max: number },
): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= min && value <= max)) {
    throw usageFailure(`${what} must be a whole number from ${min} to ${max}.`)
  }
  return value
}

/** @throws Failure usage */
export function parseArguments(
  path: readonly Command[],
  words: readonly string[],
): ParsedArguments {
  const command = path.at(-1)
  if (command === undefined) throw new Error('a path names at least the root')
  const line = nameOf(path)
  const options = optionsOf(command)
  const end = command.program ? words.indexOf('--') : -1
  const { tokens } = parseArgs({
    args: end === -1 ? [...words] : words.slice(0, end),
    options: Object.fromEntries(
      options.map(({ name, short, value }) => [
        name,
        { type: value === undefined ? 'boolean' : 'string', ...(short && { short }) } as const,
      ]),
    ),
    strict: false,
    allowPositionals: true,
    tokens: true,
  })

  const values = new Map<string, (string | true)[]>()
  const positionals: string[] = []
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value)
    if (token.kind !== 'option') continue
    const option = options.find(({ name }) => name === token.name)
    if (option === undefined) throw unknownOption(line, token.rawName, options)
    if (option.value === undefined && token.value !== undefined) {
      throw usageFailure(`--${option.name} is a switch and takes no value.`)
    }
    if (option.value !== undefined && (token.value === undefined || token.value === '')) {
      throw usageFailure(`--${option.name} needs a value: --${option.name} ${option.value}.`)
    }
    // `--out --force`: the value was forgotten, and the next option must not become it.
    if (token.value?.startsWith('--') && !token.inlineValue) {
      throw usageFailure(`--${option.name} needs a value: --${option.name} ${option.value}.`)
    }
    const before = option.many ? (values.get(option.name) ?? []) : []
    values.set(option.name, [...before, token.value ?? true])
  }
  const program = end === -1 ? undefined : words.slice(end + 1)
  // Who asks for help gets help, whatever else is missing.
  if (!values.has('help')) checkPositionals(line, command, positionals)
  return new ParsedArguments(values, positionals, program)
}

function unknownOption(line: string, rawName: string, options: readonly Option[]) {
  const near = closestName(
    rawName.replace(/^-+/, ''),
    options.map(({ name }) => name),
  )
  return usageFailure(
    `${line} has no option ${rawName}.`,
    near === null ? `\`${line} --help\` shows those it has.` : `Did you mean --${near}?`,
  )
}

function checkPositionals(line: string, command: Command, given: readonly string[]): void {
  const wanted = command.positionals ?? []
  const missing = wanted.slice(given.length).find(({ optional }) => !optional)
  if (missing !== undefined) {
    throw usageFailure(
      `${line} needs ${missing.name}: ${missing.summary}.`,
      `\`${line} --help\` shows how it is used.`,
    )
  }
  const max = wanted.some(({ many }) => many) ? Number.POSITIVE_INFINITY : wanted.length
  if (given.length > max) {
    const takes = max === 0 ? 'no arguments' : max === 1 ? 'one argument' : `${max} arguments`
    const hint = command.program
      ? 'The program to run comes after `--`.'
      : `\`${line} --help\` shows how it is used.`
    throw usageFailure(`${line} takes ${takes}, and there are ${given.length}.`, hint)
  }
}
