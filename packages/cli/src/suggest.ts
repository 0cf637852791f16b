/**
 * What may come next on a command line, from the table of commands: one answer for every shell. The
 * scripts of the shells only ask and show.
 */
import type { Command, Completion, Option } from './command.ts'
import { houseOptions, helpOption, optionsOf } from './command.ts'

export interface Suggestion {
  readonly word: string
  readonly summary: string
}

export interface Suggestions {
  readonly words: readonly Suggestion[]
  /** Beside the words: names that only the house or the disk knows. */
  readonly more: 'service' | 'credential' | 'file' | undefined
}

const nothing: Suggestions = { words: [], more: undefined }

/** `words` are those after the program's name; the last one is being typed. */
export function suggest(root: Command, words: readonly string[]): Suggestions {
  const current = words.at(-1) ?? ''
  const before = words.slice(0, -1)
  const { command, options, given, positionals, pending, program } = read(root, before)
  if (program) return { words: [], more: 'file' }
  if (pending !== undefined) return complete(pending.complete, current)

  const inline = /^(--[\w-]+)=(.*)$/s.exec(current)
  if (inline !== null) {
    const option = options.find(({ name, value }) => `--${name}` === inline[1] && value)
    const { words: found } = complete(option?.complete, inline[2] ?? '')
    return {
      words: found.map(({ word, summary }) => ({ word: `${inline[1]}=${word}`, summary })),
      more: undefined,
    }
  }
  if (current.startsWith('-')) {
    const open = options.filter(({ name, many }) => many || !given.has(name))
    return matching(
      open.map(({ name, summary }) => ({ word: `--${name}`, summary })),
      current,
    )
  }
  const subcommands = positionals > 0 ? [] : (command.subcommands ?? [])
  const here = matching(
    subcommands
      .filter(({ hidden }) => !hidden)
      .map(({ name, summary }) => ({ word: name, summary })),
    current,
  )
  const declared = command.positionals ?? []
  const last = declared.at(-1)
  const positional = declared[positionals] ?? (last?.many ? last : undefined)
  const own = complete(positional?.complete, current)
  return { words: [...here.words, ...own.words], more: own.more }
}

interface Reading {
  readonly command: Command
  readonly options: readonly Option[]
  readonly given: ReadonlySet<string>
  readonly positionals: number
  /** The option whose value is being typed. */
  readonly pending: Option | undefined
  /** After `--`: another program's words. */
  readonly program: boolean
}

/** Forgiving: what is not known is taken for a word of its own. */
function read(root: Command, words: readonly string[]): Reading {
  let command = root
  let options: readonly Option[] = [...houseOptions, helpOption]
  let positionals = 0
  let pending: Option | undefined
  const given = new Set<string>()
  for (const word of words) {
    if (pending !== undefined) {
      pending = undefined
      continue
    }
    if (word === '--' && command.program) {
      return { command, options, given, positionals, pending, program: true }
    }
    if (word.startsWith('-') && word !== '-') {
      const option = options.find(({ name, short }) => word === `--${name}` || word === `-${short}`)
      if (option !== undefined) given.add(option.name)
      if (option?.value !== undefined) pending = option
      continue
    }
    const next =
      positionals > 0 ? undefined : command.subcommands?.find(({ name }) => name === word)
    if (next === undefined) positionals += 1
    else {
      command = next
      options = optionsOf(command)
    }
  }
  return { command, options, given, positionals, pending, program: false }
}

function complete(completion: Completion | undefined, current: string): Suggestions {
  if (completion === undefined) return nothing
  if (typeof completion === 'string') return { words: [], more: completion }
  return matching(
    completion.map((word) => ({ word, summary: '' })),
    current,
  )
}

function matching(all: readonly Suggestion[], current: string): Suggestions {
  return { words: all.filter(({ word }) => word.startsWith(current)), more: undefined }
}
