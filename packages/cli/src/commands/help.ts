import type { Command } from '../command.ts'
import { exitCodes } from '../failure.ts'
import { helpOf } from '../help.ts'
import { findCommand } from '../parse-arguments.ts'

export const helpCommand: Command = {
  name: 'help',
  summary: 'explain a command',
  positionals: [
    { name: 'COMMAND', summary: 'such as `credentials create`', optional: true, many: true },
  ],
  run: ({ surroundings, root }, args) => {
    const { path } = findCommand(root, args.positionals)
    surroundings.stdout.write(helpOf(path, surroundings.stdout.columns))
    return Promise.resolve(exitCodes.ok)
  },
}
