/** All commands, in the order in which a newcomer needs them. */
import type { Command } from '../command.ts'
import { auditCommand } from './audit.ts'
import { completionCommand } from './completion.ts'
import { credentialsCommand } from './credentials.ts'
import { discoverCommand } from './discover.ts'
import { helpCommand } from './help.ts'
import { routesCommand } from './routes.ts'
import { runCommand } from './run.ts'
import { servicesCommand } from './services.ts'
import { statusCommand } from './status.ts'
import { tokenCommand } from './token.ts'
import { upCommand } from './up.ts'

export const rootCommand: Command = {
  name: 'haus',
  summary: 'credentials, service registry, health and gateway in one small process',
  description: [
    'Without options it speaks to the house of this folder: its address and the operator’s token are in ./.haus, or in the folder that HAUS_DATA_DIR names. HAUS_URL and HAUS_TOKEN_FILE name another; with HAUS_CLIENT_ID and HAUS_CLIENT_SECRET_FILE a service speaks.',
  ],
  subcommands: [
    upCommand,
    runCommand,
    statusCommand,
    servicesCommand,
    discoverCommand,
    credentialsCommand,
    routesCommand,
    tokenCommand,
    auditCommand,
    completionCommand,
    helpCommand,
  ],
}
