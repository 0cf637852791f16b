/** `docs/reference/cli.md`: every command with its arguments, options and examples. */
import { renderReference } from '@haus/cli/reference'
import type { GeneratedFile } from './generate.ts'

export function generateCli(): GeneratedFile {
  return {
    path: 'docs/reference/cli.md',
    content: renderReference(),
  }
}
