/** The page docs/reference/cli.md, from the table of commands. */
import { rootCommand } from './commands/index.ts'
import type { Command } from './command.ts'
import { helpOption, houseOptions } from './command.ts'
import { exitMeanings } from './failure.ts'
import { optionText, sentence, usageLine } from './help.ts'
import { nameOf } from './parse-arguments.ts'

export function renderReference(): string {
  const parts = [
    '# The command line',
    'Generated from the table of commands in `packages/cli/src/commands`; do not edit.',
    ...(rootCommand.description ?? []),
    'In a clone it is `npx haus`, or `node_modules/.bin/haus` on the path. `haus COMMAND --help` shows the same as this page.',
    '## Exit codes',
    table(
      ['Code', 'Meaning'],
      exitMeanings.map(([exitCode, meaning]) => [String(exitCode), meaning]),
    ),
    '`haus run` ends with the code of its program, and `haus up` with that of the house; both have a section below.',
    '## Options of all commands that speak with a house',
    table(
      ['Option', 'Meaning'],
      [...houseOptions, helpOption].map((option) => [`\`${optionText(option)}\``, option.summary]),
    ),
    'With `--json`, standard output has the answer of the API as it is, lists as a whole, and a refusal is one line of JSON on standard error with `code`, `detail`, `hint`, `errors` and `exitCode`. Without it there are tables, in colour on a terminal unless `NO_COLOR` is set.',
    ...visible(rootCommand).flatMap((command) => section([rootCommand, command], 2)),
  ]
  return `${parts.join('\n\n')}\n`
}

function visible(command: Command): readonly Command[] {
  return (command.subcommands ?? []).filter(({ hidden }) => !hidden)
}

function section(path: readonly Command[], level: number): string[] {
  const command = path.at(-1)
  if (command === undefined) return []
  const { description = [], positionals = [], options = [], examples = [] } = command
  const rows = [
    ...positionals.map(({ name, summary }) => [`\`${name}\``, summary]),
    ...options.map((option) => [`\`${optionText(option)}\``, option.summary]),
  ]
  return [
    `${'#'.repeat(level)} ${nameOf(path)}`,
    sentence(command.summary),
    ...(command.run === undefined ? [] : [code(usageLine(path))]),
    ...description,
    ...(rows.length === 0 ? [] : [table(['Argument', 'Meaning'], rows)]),
    ...(examples.length === 0
      ? []
      : [code(examples.map(([line, meaning]) => `${line}   # ${meaning}`).join('\n'))]),
    ...visible(command).flatMap((sub) => section([...path, sub], level + 1)),
  ]
}

function code(text: string): string {
  return `\`\`\`sh\n${text}\n\`\`\``
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map((row) => line(row))].join('\n')
}
