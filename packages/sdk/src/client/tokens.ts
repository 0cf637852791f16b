/**
 * Where the token of a call comes from. Three kinds of program ask: an operator's, with a token in
 * a file; a service's, with a key that it trades for short-lived tokens; one that was given a token.
 */
import type { Audience } from '@haus/contract'
import { systemClock, type Clock } from '../platform/clock.ts'
import { readSecretFile } from '../platform/secret-file.ts'
import { Secret } from '../platform/secret.ts'
import { HausApiError } from './errors.ts'

export interface TokenSource {
  /** A token to send now. */
  token(audience: Audience, signal?: AbortSignal): Promise<Secret>
  /** The house did not take this one: the next `token` should be another. */
  refused(token: Secret): void
}

/** A token in a file, such as the operator's. Read at each use, so that a new one counts at once. */
export function tokenFile(file: string, what = 'HAUS_TOKEN_FILE'): TokenSource {
  return { token: () => readSecretFile(file, what), refused: () => {} }
}

export function staticToken(token: string | Secret): TokenSource {
  const secret = token instanceof Secret ? token : new Secret(token)
  return { token: () => Promise.resolve(secret), refused: () => {} }
}

export interface ClientKey {
  readonly clientId: string
  readonly clientSecret: Secret
}

export interface ClientCredentialsOptions {
  /** Asked at each renewal, so that a key that was replaced in its file counts from then on. */
  readonly key: () => Promise<ClientKey>
  readonly issue: IssueToken
  readonly clock?: Clock
}

export type IssueToken = (
  key: ClientKey,
  audience: Audience,
  signal?: AbortSignal,
) => Promise<{ readonly token: Secret; readonly expiresInSeconds: number }>

interface Held {
  readonly token: Secret
  readonly renewAtMs: number
  readonly endsAtMs: number
}

/** Half of the life is left to find another one in, should the house be away when the time comes. */
const renewAfterShare = 0.5
/** Not used so close to the end: the request has a way to go, and clocks differ. */
const marginMs = 10_000
/** After a renewal that failed while the old token still holds. */
const tryAgainAfterMs = 1_000

/**
 * Tokens by OAuth 2.0 client credentials, one per audience, renewed when half of their life is
 * over: in the background while the old one holds, and only one renewal at a time.
 */
export function clientCredentials(options: ClientCredentialsOptions): TokenSource {
  const { key, issue, clock = systemClock } = options
  const held = new Map<Audience, Held>()
  const renewals = new Map<Audience, Promise<Secret>>()

  function renew(audience: Audience): Promise<Secret> {
    const running = renewals.get(audience)
    if (running) return running
    const startedMs = clock.monotonicMs()
    // The signal of one caller does not end what others wait for: the exchange has its deadline.
    const renewal = key()
      .then((found) => issue(found, audience))
      .then(({ token, expiresInSeconds }) => {
        const lifeMs = expiresInSeconds * 1_000
        held.set(audience, {
          token,
          renewAtMs: startedMs + lifeMs * renewAfterShare,
          endsAtMs: startedMs + lifeMs - Math.min(marginMs, lifeMs / 10),
        })
        return token
      })
      .finally(() => renewals.delete(audience))
    renewals.set(audience, renewal)
    return renewal
  }

  return {
    token(audience) {
      const now = held.get(audience)
      const nowMs = clock.monotonicMs()
      if (!now || nowMs >= now.endsAtMs) return renew(audience)
      if (nowMs >= now.renewAtMs && !renewals.has(audience)) {
        renew(audience).catch((error: unknown) => {
          if (error instanceof HausApiError && error.code === 'invalid_client') {
            // The key is revoked, and so is every token made with it.
            held.delete(audience)
          } else if (held.get(audience) === now) {
            held.set(audience, { ...now, renewAtMs: clock.monotonicMs() + tryAgainAfterMs })
          }
        })
      }
      return Promise.resolve(now.token)
    },

    refused(token) {
      for (const [audience, now] of held) {
        if (now.token.reveal() === token.reveal()) held.delete(audience)
      }
    },
  }
}
