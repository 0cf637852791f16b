/** A credential as the house knows it in memory: everything but its values. */
import { credentialVersionsMax, type Credential } from '@haus/contract'
import type { Static } from 'typebox'

export interface CredentialRecord {
  readonly id: string
  readonly name: string
  /** The current version. */
  readonly version: number
  /** Counts every change; the guard of updates. */
  readonly revision: number
  /** The revision that last set the grants. */
  readonly grantsRevision: number
  /** Canonical names, sorted. */
  readonly services: readonly string[]
  readonly description: string | null
  readonly expiresAt: Date | null
  readonly cacheTtlSeconds: number
  /** The names of the values. */
  readonly keys: readonly string[]
  readonly createdAt: Date
  readonly updatedAt: Date
  readonly deletedAt: Date | null
}

export type CredentialMetadata = Static<typeof Credential>

export function metadataOf(record: CredentialRecord): CredentialMetadata {
  return {
    id: record.id,
    name: record.name,
    version: record.version,
    revision: record.revision,
    services: [...record.services],
    description: record.description,
    expiresAt: record.expiresAt?.toISOString() ?? null,
    cacheTtlSeconds: record.cacheTtlSeconds,
    keys: [...record.keys],
    createdAt: record.createdAt.toISOString(),
    updatedAt: record.updatedAt.toISOString(),
  }
}

/** What the audit calls it. */
export function targetOf(name: string): string {
  return `credentials/${name}`
}

/** The oldest version that is still stored. */
export function oldestKept(currentVersion: number): number {
  return Math.max(1, currentVersion - credentialVersionsMax + 1)
}
