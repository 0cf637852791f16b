/** `docs/reference/cli.md`: every command with its arguments, options and examples. */
import { renderReference } from '@haus/cli/reference'
import * as prettier from 'prettier'
import type { GeneratedFile } from './generate.ts'

export async function generateCli(): Promise<GeneratedFile> {
  return {
    path: 'docs/reference/cli.md',
    content: await prettier.format(renderReference(), { parser: 'markdown' }),
  }
}
