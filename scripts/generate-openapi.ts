/** `docs/reference/openapi.json`: the catalogue for tools that read files. */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { openApiDocument } from '@haus/contract'
import type { GeneratedFile } from './generate.ts'

export async function generateOpenApi(): Promise<GeneratedFile> {
  const manifest: unknown = JSON.parse(
    await readFile(path.resolve(import.meta.dirname, '..', 'package.json'), 'utf8'),
  )
  const version =
    typeof manifest === 'object' && manifest !== null && 'version' in manifest
      ? String(manifest.version)
      : ''
  return {
    path: 'docs/reference/openapi.json',
    content: JSON.stringify(openApiDocument({ version })),
  }
}
