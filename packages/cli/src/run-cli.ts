/** One command line from its words to its exit code. The only place where a Failure becomes text. */
import type { Command } from './command.ts'
import { findConnection } from './connection.ts'
import type { Context } from './context.ts'
import { exitCodes, Failure } from './failure.ts'
import { helpOf } from './help.ts'
import { openHouse } from './house.ts'
import { toned } from './output/colour.ts'
import { Screen } from './output/screen.ts'
import { plainText } from './output/text-width.ts'
import { findCommand, parseArguments } from './parse-arguments.ts'
import type { Surroundings } from './surroundings.ts'

export interface Program {
  readonly root: Command
  readonly version: string
}

/** Never rejects: what nobody expected is told too, and ends with 70. */
export async function runCli(
  { root, version }: Program,
  argv: readonly string[],
  surroundings: Surroundings,
): Promise<number> {
  try {
    const [first] = argv
    if (first === '--version' || first === '-v') {
      surroundings.stdout.write(`${version}\n`)
      return exitCodes.ok
    }
    return await run({ root, version }, argv, surroundings)
  } catch (error) {
    tell(error, argv, surroundings)
    return error instanceof Failure ? error.exitCode : exitCodes.internal
  }
}

async function run(
  { root, version }: Program,
  argv: readonly string[],
  surroundings: Surroundings,
): Promise<number> {
  const { path, command, words } = findCommand(root, argv)
  const args = parseArguments(path, words)
  if (args.flag('help') || argv.length === 0) {
    surroundings.stdout.write(helpOf(path, surroundings.stdout.columns))
    return argv.length === 0 ? exitCodes.usage : exitCodes.ok
  }
  if (command.run === undefined) {
    surroundings.stderr.write(helpOf(path, surroundings.stderr.columns))
    return exitCodes.usage
  }
  const context: Context = {
    surroundings,
    screen: new Screen(surroundings),
    root,
    version,
    house: () =>
      openHouse(
        findConnection({
          env: surroundings.env,
          cwd: surroundings.cwd,
          url: args.text('url'),
          tokenFile: args.text('token-file'),
        }),
      ),
  }
  return command.run(context, args)
}

function tell(error: unknown, argv: readonly string[], { stderr, look }: Surroundings): void {
  const failure = error instanceof Failure ? error : unexpected(error)
  const { code, message, hint, fields, exitCode } = failure
  const end = argv.indexOf('--')
  if (argv.slice(0, end === -1 ? undefined : end).includes('--json')) {
    stderr.write(`${JSON.stringify({ code, detail: message, hint, errors: fields, exitCode })}\n`)
    return
  }
  stderr.write(`${toned('haus:', 'bad', look.stderr)} ${plainText(message)}\n`)
  // The house names every field that does not fit; one alone is in its sentence already.
  if (fields.length > 1) {
    for (const { field, detail } of fields) stderr.write(`  ${plainText(`${field} ${detail}`)}\n`)
  }
  if (hint !== undefined) stderr.write(`${plainText(hint)}\n`)
  if (!(error instanceof Failure) && error instanceof Error) stderr.write(`${error.stack}\n`)
}

function unexpected(error: unknown): Failure {
  const sentence = 'An error that nobody expected; please report it with what is below.'
  return new Failure('internal', sentence, { code: 'internal_error', cause: error })
}
