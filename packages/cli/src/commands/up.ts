/** `haus up`: this process becomes the coordinator, so that signals and the exit code are its own. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import type { Command } from '../command.ts'
import { Failure } from '../failure.ts'

/** Another program of the same clone: run, never imported. */
const coordinatorMain = path.resolve(
  import.meta.dirname,
  '../../../../services/zimmer-13-api-coordinator/src/main.ts',
)

export const upCommand: Command = {
  name: 'up',
  summary: 'open the house',
  description: [
    'Opens the house on the data folder ./.haus, or on the one that HAUS_DATA_DIR names, and stays until Ctrl-C or SIGTERM. Settings come from the environment or from haus.yaml.',
    'Exit codes are those of the house: 0 after a stop, and one of its own for each way a start is refused, such as 75 for a data folder that is in use and 78 for a setting that is not valid.',
  ],
  options: [
    {
      name: 'config',
      value: 'FILE',
      summary: 'read settings from FILE instead of ./haus.yaml',
      complete: 'file',
    },
    {
      name: 'renew-operator-token',
      summary: 'replace the operator token, write the new one, and open the house',
    },
  ],
  examples: [
    ['haus up', 'open the house of this folder'],
    ['HAUS_API_ADDR=127.0.0.1:9000 haus up', 'at another address'],
  ],
  run: ({ surroundings }, args) => {
    if (!existsSync(coordinatorMain)) {
      throw new Failure('notFound', 'The coordinator is not installed beside this program.', {
        hint: 'Run it in a clone of the repository, or use the container image.',
        code: 'no_coordinator',
      })
    }
    const config = args.text('config')
    return surroundings.become(surroundings.execPath, [
      coordinatorMain,
      ...(config === undefined ? [] : ['--config', config]),
      ...(args.flag('renew-operator-token') ? ['--renew-operator-token'] : []),
    ])
  },
}
