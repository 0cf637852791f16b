/** The help of a command, from its entry in the table. */
import type { Command, Option } from './command.ts'
import { helpOption, houseOptions } from './command.ts'
import { exitMeanings } from './failure.ts'
import { nameOf } from './parse-arguments.ts'
import { wrapText } from './output/text-width.ts'

export function usageLine(path: readonly Command[]): string {
  const command = path.at(-1)
  const words = (command?.positionals ?? []).map(({ name, optional, many }) => {
    const text = many ? `${name}...` : name
    return optional ? `[${text}]` : text
  })
  const hasOptions = (command?.options?.length ?? 0) > 0 || command?.house
  return [
    nameOf(path),
    ...(command?.run === undefined ? ['COMMAND'] : []),
    ...words,
    ...(hasOptions ? ['[options]'] : []),
    ...(command?.program ? ['-- PROGRAM [ARGUMENTS...]'] : []),
  ].join(' ')
}

export function optionText({ name, short, value }: Option): string {
  const long = `--${name}${value === undefined ? '' : ` ${value}`}`
  return short === undefined ? long : `-${short}, ${long}`
}

/** Narrower is not worth breaking for, wider is hard to read. */
const widthMin = 60
const widthMax = 100

export function helpOf(path: readonly Command[], columns: number | undefined): string {
  const command = path.at(-1)
  if (command === undefined) throw new Error('a path names at least the root')
  const width = Math.max(widthMin, Math.min(columns ?? widthMax, widthMax))
  const parts: string[] = [sentence(command.summary), `Usage: ${usageLine(path)}`]
  for (const paragraph of command.description ?? []) parts.push(wrapText(paragraph, width, ''))

  const section = (title: string, rows: readonly (readonly [string, string])[]): void => {
    if (rows.length > 0) parts.push(`${title}:\n${twoColumns(rows, width)}`)
  }
  section(
    'Arguments',
    (command.positionals ?? []).map(({ name, summary }) => [name, summary]),
  )
  section(
    'Commands',
    (command.subcommands ?? [])
      .filter(({ hidden }) => !hidden)
      .map(({ name, summary }) => [name, summary]),
  )
  section('Options', [
    ...[...(command.options ?? []), ...(command.house ? houseOptions : []), helpOption].map(
      (option): [string, string] => [optionText(option), option.summary],
    ),
  ])
  if (command.examples !== undefined) {
    const lines = command.examples.map(([line, meaning]) => `  ${line}\n      ${meaning}`)
    parts.push(`Examples:\n${lines.join('\n')}`)
  }
  if (path.length === 1) {
    section(
      'Exit codes',
      exitMeanings.map(([code, meaning]) => [String(code), meaning]),
    )
    parts.push('`haus COMMAND --help` tells more about each.')
  }
  return `${parts.join('\n\n')}\n`
}

export function sentence(text: string): string {
  const capital = text.charAt(0).toUpperCase() + text.slice(1)
  return /[.!?]$/.test(capital) ? capital : `${capital}.`
}

function twoColumns(rows: readonly (readonly [string, string])[], width: number): string {
  const left = Math.min(28, Math.max(...rows.map(([name]) => name.length)))
  const indent = ' '.repeat(left + 4)
  return rows
    .map(([name, text]) => {
      const wrapped = wrapText(text, width, indent).trimStart()
      // A long name gets a line of its own, so that one of them does not push all the others away.
      const head = name.length > left ? `  ${name}\n${indent}` : `  ${name.padEnd(left)}  `
      return `${head}${wrapped}`
    })
    .join('\n')
}
