/** What the cache holds, and whether what was read from it can be used. */
import type { Granted } from './credentials.ts'
import type { VersionedConfig } from './configuration.ts'
import type { KnownService } from './discovery.ts'
import type { Trust } from './verifier.ts'

export interface CachedState {
  /** Wall time, milliseconds. */
  readonly savedAtMs: number
  readonly credentials: Readonly<Record<string, Granted>>
  readonly config: VersionedConfig
  readonly trust: Trust | null
  readonly services: readonly KnownService[]
}

/** As long as the house keeps its events; a service that was off for longer should ask first. */
const ageMaxMs = 7 * 24 * 3_600_000

/**
 * Its authenticity is proven by then: only this service can have written it. What is checked is
 * that it is of this form, not too old, and has what the program needs.
 */
export function usable(
  value: unknown,
  needed: readonly string[] | undefined,
  nowMs: number,
): { readonly state: CachedState } | { readonly why: string } {
  if (!isState(value)) return { why: 'it is of another form' }
  // A clock that went back makes it look younger than new: that is not old.
  if (nowMs - value.savedAtMs > ageMaxMs) return { why: 'it is older than 7 days' }
  const credentials: Record<string, Granted> = {}
  for (const [name, granted] of Object.entries(value.credentials)) {
    const { expiresAt } = granted
    if (expiresAt === null || Date.parse(expiresAt) > nowMs) credentials[name] = granted
  }
  const missing = needed?.find((name) => !Object.hasOwn(credentials, name))
  if (missing !== undefined) return { why: `it lacks the credential "${missing}"` }
  return { state: { ...value, credentials } }
}

function isState(value: unknown): value is CachedState {
  return (
    isRecord(value) &&
    typeof value['savedAtMs'] === 'number' &&
    isRecord(value['credentials']) &&
    Object.values(value['credentials']).every(isGranted) &&
    isRecord(value['config']) &&
    typeof value['config']['version'] === 'number' &&
    isRecord(value['config']['data']) &&
    (value['trust'] === null || isRecord(value['trust'])) &&
    Array.isArray(value['services'])
  )
}

function isGranted(value: unknown): value is Granted {
  return (
    isRecord(value) &&
    typeof value['id'] === 'string' &&
    typeof value['version'] === 'number' &&
    isRecord(value['data']) &&
    (value['expiresAt'] === null || typeof value['expiresAt'] === 'string')
  )
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
