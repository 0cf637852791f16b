/** Destructive commands ask a person, and want --yes from a script. */
import type { Option } from '../command.ts'
import type { Context } from '../context.ts'
import { Failure, usageFailure } from '../failure.ts'
import { askLine } from '../platform/prompt.ts'
import type { ParsedArguments } from '../parse-arguments.ts'

export const yesOption: Option = { name: 'yes', short: 'y', summary: 'do it without asking' }

/** @throws Failure when the answer is not yes, or nobody can be asked */
export async function confirm(
  { surroundings }: Context,
  args: ParsedArguments,
  question: string,
): Promise<void> {
  if (args.flag('yes')) return
  const { stdin, stderr } = surroundings
  if (!stdin.isTTY || !stderr.isTTY) {
    throw usageFailure('This cannot be undone, and there is no terminal to ask.', 'Say --yes.')
  }
  const answer = await askLine(surroundings, `${question} [y/N] `, 'shown')
  if (!/^y(es)?$/i.test(answer.trim())) throw new Failure('no', 'Nothing was done.')
}
