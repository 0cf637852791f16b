/** Who is asking, as far as the HTTP layer must know to let an operation run. */
import { HausError } from '@haus/contract'

export interface Caller {
  readonly kind: 'anonymous' | 'operator' | 'service' | 'scraper'
  /** `operator`, `service:<name>`, `anonymous`, `scraper`: what the audit shows. */
  readonly actor: string
  /** The service that a service token speaks for. */
  readonly service: string | null
  /** When the token ends, on the monotonic clock; null: it does not. Streams end with it. */
  readonly expiresAtMonotonicMs: number | null
  /** Aborted when the key behind the token is revoked; streams end with it. */
  readonly revoked: AbortSignal | null
}

export const anonymous: Caller = {
  kind: 'anonymous',
  actor: 'anonymous',
  service: null,
  expiresAtMonotonicMs: null,
  revoked: null,
}

/**
 * A key that is revoked between the head of a request and its answer is refused like one before.
 * @throws HausError token_revoked
 */
export function refuseRevoked({ revoked }: Caller): void {
  if (!revoked?.aborted) return
  const detail = 'has been revoked: ask an operator for a new key'
  throw new HausError('token_revoked', `The key behind the token ${detail}.`, {
    fields: [{ field: 'header.authorization', detail }],
  })
}

/** What a service function is told about the request it serves; the audit is written from it. */
export interface RequestContext {
  readonly caller: Caller
  /** The operation id, the `action` of the audit. */
  readonly operation: string
  readonly requestId: string
  /** The peer's address without port, IPv4-mapped IPv6 shown as IPv4. */
  readonly source: string
}
