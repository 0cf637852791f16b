/**
 * Where secret values come from: a file, standard input, or a prompt that does not show them. Never
 * an argument: everybody on the machine can read those, and the shell keeps them.
 */
import { createReadStream } from 'node:fs'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { parseEnv } from 'node:util'
import type { Option, Positional } from '../command.ts'
import type { Context } from '../context.ts'
import { fileFailure, usageFailure } from '../failure.ts'
import { askLine } from '../platform/prompt.ts'
import type { ParsedArguments } from '../parse-arguments.ts'

export const valueOptions: readonly Option[] = [
  {
    name: 'from',
    value: 'FILE',
    summary: 'all values, as a JSON object or as lines of KEY=value; - is standard input',
    complete: 'file',
  },
  {
    name: 'file',
    value: 'KEY=FILE',
    many: true,
    summary: 'one value is the whole of FILE, to its last byte; - is standard input',
  },
]

export const keysArgument: Positional = {
  name: 'KEY',
  summary: 'values that are asked for, or read from standard input, a line for each',
  optional: true,
  many: true,
}

/** A credential has 64 KiB; what is larger is another file, named by mistake. */
const limitBytes = 1024 * 1024

const keyForm = /^[A-Za-z_][A-Za-z0-9_.-]{0,127}$/

/** @returns undefined when no value was named at all. @throws Failure usage */
export async function readValues(
  { surroundings }: Context,
  args: ParsedArguments,
  keys: readonly string[],
): Promise<Record<string, string> | undefined> {
  const from = args.text('from')
  const files = args.list('file').map(splitPair)
  if (from === undefined && files.length === 0 && keys.length === 0) return undefined
  // `password=secret`, typed by habit, is in the shell's history by now; it goes no further.
  if (!keys.every((key) => keyForm.test(key))) {
    throw usageFailure(
      'A KEY is the name of a value: letters, digits, underscores, dots and hyphens.',
      'The value itself is asked for, or comes from standard input or a file.',
    )
  }

  const stdinUses = [from, ...files.map(([, file]) => file)].filter((file) => file === '-').length
  const asked = keys.length > 0 && !surroundings.stdin.isTTY ? 1 : 0
  if (stdinUses + asked > 1) {
    throw usageFailure('Standard input can be the source of one thing only.', 'Use files.')
  }
  const read = (file: string): Promise<string> =>
    file === '-'
      ? readText(surroundings.stdin, 'standard input')
      : readText(createReadStream(path.resolve(surroundings.cwd, file)), file)

  const entries: [string, string][] = []
  if (from !== undefined) entries.push(...parseValues(await read(from)))
  for (const [key, file] of files) entries.push([key, await read(file)])
  if (asked === 1) entries.push(...splitLines(keys, await read('-')))
  else for (const key of keys) entries.push([key, await ask(key)])

  const seen = new Set<string>()
  for (const [key] of entries) {
    if (seen.has(key)) throw usageFailure(`The value of ${key} is given twice.`)
    seen.add(key)
  }
  return Object.fromEntries(entries)

  async function ask(key: string): Promise<string> {
    const value = await askLine(surroundings, `${key} (not shown): `, 'hidden')
    if (value === '') throw usageFailure(`The value of ${key} is empty.`, 'Nothing was done.')
    return value
  }
}

function splitPair(text: string): [string, string] {
  const at = text.indexOf('=')
  // What came instead could be a value, typed where only its file may stand: it is not repeated.
  if (at < 1 || at === text.length - 1) {
    throw usageFailure('--file is KEY=FILE, such as --file certificate=server.pem.')
  }
  return [text.slice(0, at), text.slice(at + 1)]
}

/** Nothing of the text gets into a refusal. */
function parseValues(text: string): [string, string][] {
  if (!text.trimStart().startsWith('{')) {
    const found = Object.entries(parseEnv(text)).map(([key, value]): [string, string] => [
      key,
      value ?? '',
    ])
    if (found.length > 0) return found
    throw usageFailure('--from has no values.', 'It takes a JSON object, or lines of KEY=value.')
  }
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    throw usageFailure('--from begins like a JSON object and is not valid JSON.')
  }
  return Object.entries(Object(parsed)).map(([key, value]): [string, string] => {
    if (typeof value === 'string') return [key, value]
    throw usageFailure(`The value of ${key} is not text.`, 'Put numbers and objects into quotes.')
  })
}

function splitLines(keys: readonly string[], text: string): [string, string][] {
  const lines = text.replace(/\r?\n$/, '').split(/\r?\n/)
  if (text === '' || lines.length !== keys.length) {
    const count = text === '' ? 0 : lines.length
    throw usageFailure(
      `Standard input has ${count} lines, and ${keys.length} values are wanted.`,
      'A value of several lines comes with --file KEY=-.',
    )
  }
  return keys.map((key, place) => [key, lines[place] ?? ''])
}

async function readText(stream: Readable, name: string): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of stream) {
      const bytes = Buffer.from(chunk)
      size += bytes.length
      if (size > limitBytes) throw usageFailure(`${name} is larger than 1 MiB.`)
      chunks.push(bytes)
    }
  } catch (error) {
    if (error instanceof Error && 'code' in error) throw fileFailure('read', name, error)
    throw error
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks))
  } catch {
    throw usageFailure(`${name} is not UTF-8 text.`, 'Encode it first, for example with base64.')
  }
}
