/**
 * `packages/sdk/src/client/operations.ts`: what the client has to know of each operation at run
 * time. The types come from the contract; its schemas, and the library behind them, do not travel
 * with every service.
 */
import { catalogue } from '@haus/contract'
import type { GeneratedFile } from './generate.ts'

export function generateClientOperations(): GeneratedFile {
  const ids = catalogue.map(({ id }) => id).toSorted()
  const shapes = catalogue.map(({ id, method, path, permission, answers }) => {
    const shape = {
      method,
      path,
      statuses: Object.keys(answers).map(Number),
      public: permission === 'public',
    }
    return `  ${id}: ${JSON.stringify(shape)},`
  })
  const text = `/** Generated from the catalogue of packages/contract; do not edit. */
import type {
${ids.map((id) => `  ${id},`).join('\n')}
} from '@haus/contract'

export interface OperationShape {
  readonly method: string
  /** With \`{name}\` placeholders. */
  readonly path: string
  /** Those of an answer; every other one is a refusal. */
  readonly statuses: readonly number[]
  /** Needs no token. */
  readonly public: boolean
}

export interface Operations {
${ids.map((id) => `  readonly ${id}: typeof ${id}`).join('\n')}
}

export type OperationId = keyof Operations

export const operations: Readonly<Record<OperationId, OperationShape>> = {
${shapes.join('\n')}
}
`
  return {
    path: 'packages/sdk/src/client/operations.ts',
    content: text,
  }
}
