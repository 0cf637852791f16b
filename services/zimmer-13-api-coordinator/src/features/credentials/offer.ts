/**
 * What a service may have at a moment: the basis of its answers, its ETag and its heartbeats.
 * Worked out once and kept until a credential of the service changes or one expires.
 */
import { cacheTtlSecondsDefault } from '@haus/contract'
import { mac, type Key } from '../../platform/crypto/index.ts'
import type { CredentialRecord } from './credential.ts'
import type { NamedFault } from './integrity.ts'

export interface Offer {
  readonly service: string
  /** By name; what may be handed out. */
  readonly credentials: readonly CredentialRecord[]
  /** By name; granted, and past their time. */
  readonly expired: readonly CredentialRecord[]
  /** Granted as it seems, and not to be trusted. */
  readonly faults: readonly NamedFault[]
  readonly versions: Readonly<Record<string, number>>
  /** Of the answer: the shortest of all. */
  readonly cacheTtlSeconds: number
  /** Quoted. Keyed, and made of ids and revisions only: it tells nothing and follows every change. */
  readonly etag: string
  /** Of the record of a read. */
  readonly auditDetail: Readonly<Record<string, unknown>>
  /** Holds from here (inclusive) to there, in wall time: expiry is a promise about dates. */
  readonly fromMs: number
  readonly untilMs: number
}

export function makeOffer(
  service: string,
  granted: readonly CredentialRecord[],
  faults: readonly NamedFault[],
  nowMs: number,
  etagKey: Key,
): Offer {
  const credentials: CredentialRecord[] = []
  const expired: CredentialRecord[] = []
  const versions: Record<string, number> = {}
  let fromMs = Number.NEGATIVE_INFINITY
  let untilMs = Number.POSITIVE_INFINITY
  let cacheTtlSeconds = Number.POSITIVE_INFINITY
  for (const credential of granted) {
    const endsMs = credential.expiresAt?.getTime() ?? Number.POSITIVE_INFINITY
    if (endsMs <= nowMs) {
      expired.push(credential)
      fromMs = Math.max(fromMs, endsMs)
      continue
    }
    credentials.push(credential)
    versions[credential.name] = credential.version
    untilMs = Math.min(untilMs, endsMs)
    cacheTtlSeconds = Math.min(cacheTtlSeconds, credential.cacheTtlSeconds)
  }
  const content = credentials.map(({ id, revision }) => [id, revision])
  const etag = mac(etagKey, service, content).toString('base64url', 0, 16)
  return {
    service,
    credentials,
    expired,
    faults,
    versions: Object.freeze(versions),
    cacheTtlSeconds: Number.isFinite(cacheTtlSeconds) ? cacheTtlSeconds : cacheTtlSecondsDefault,
    etag: `"${etag}"`,
    auditDetail: {
      credentials: versions,
      ...(expired.length > 0 && { expired: expired.map(({ name }) => name) }),
    },
    fromMs,
    untilMs,
  }
}

/**
 * RFC 9110 section 13.1.2: weak comparison against a list. Not `*`, which names no answer that was
 * read: its 304 would tell the ETag to somebody whose read is not on record.
 */
export function matchesEtag(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false
  if (ifNoneMatch === etag) return true
  return ifNoneMatch.split(',').some((part) => part.trim().replace(/^W\//, '') === etag)
}
