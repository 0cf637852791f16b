/** What a command works with. */
import type { Command } from './command.ts'
import type { House } from './house.ts'
import type { Screen } from './output/screen.ts'
import type { Surroundings } from './surroundings.ts'

export interface Context {
  readonly surroundings: Surroundings
  readonly screen: Screen
  /** The table of all commands, for those that explain it. */
  readonly root: Command
  /** The version of this program. */
  readonly version: string
  /** The house that the options, the environment or the data folder name. @throws Failure */
  readonly house: () => House
}
