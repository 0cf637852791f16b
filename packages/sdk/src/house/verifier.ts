/**
 * Tells whose token this is, with the public keys of the house and without asking it: a service
 * goes on knowing its callers while the house is away.
 *
 * What it cannot know is a revocation: a token lives 15 minutes at most, and that is how long a
 * revoked caller may still get in here. The house and its gateway refuse it at once.
 */
import type { Audience, getJwks, StaticOf } from '@haus/contract'
import { createLocalJWKSet, decodeJwt, errors, jwtVerify } from 'jose'
import type { Clock } from '../platform/clock.ts'

export type KeySet = StaticOf<(typeof getJwks)['answers'][200]['schema']>

export interface VerifiedCaller {
  readonly service: string
  readonly clientId: string
  readonly expiresAt: Date
}

export class TokenError extends Error {
  override readonly name = 'TokenError'
  readonly code: 'token_invalid' | 'token_expired' | 'token_wrong_audience' | 'keys_unknown'

  constructor(code: TokenError['code'], message: string) {
    super(message)
    this.code = code
  }
}

/** What the verifier knows of the house; kept in the cache. */
export interface Trust {
  readonly issuer: string
  readonly keys: KeySet
}

export interface Verifier {
  readonly trust: Trust | undefined
  learn(trust: Trust): void
  /** @throws TokenError */
  verify(token: string, audience: Audience): Promise<VerifiedCaller>
}

/** Ours have some 500 characters. What is longer is refused before any of it is parsed. */
const tokenLengthMax = 4_096
/** For the clocks of two machines; NTP keeps them far closer. */
const leewaySeconds = 5
/** A token with an unknown key makes the keys be read again, but nobody can make it happen often. */
const relearnAfterMs = 30_000

export function createVerifier(options: {
  readonly clock: Clock
  /** Reads the keys from the house. */
  readonly refresh: () => Promise<Trust>
}): Verifier {
  const { clock, refresh } = options
  let trust: Trust | undefined
  let lookup: ReturnType<typeof createLocalJWKSet> | undefined
  let refreshing: Promise<void> | undefined
  let refreshedAtMs = Number.NEGATIVE_INFINITY

  function learn(next: Trust): void {
    trust = next
    lookup = createLocalJWKSet({ keys: next.keys.keys })
  }

  function relearn(): Promise<void> {
    if (clock.monotonicMs() - refreshedAtMs < relearnAfterMs) return Promise.resolve()
    refreshing ??= refresh()
      .then(learn)
      .catch(() => {})
      .finally(() => {
        refreshedAtMs = clock.monotonicMs()
        refreshing = undefined
      })
    return refreshing
  }

  async function check(token: string, audience: Audience): Promise<VerifiedCaller> {
    if (!trust || !lookup) throw new errors.JWKSNoMatchingKey()
    const { payload } = await jwtVerify(token, lookup, {
      algorithms: ['EdDSA'],
      typ: 'at+jwt',
      issuer: trust.issuer,
      audience,
      requiredClaims: ['sub', 'client_id', 'exp'],
      clockTolerance: leewaySeconds,
      currentDate: clock.now(),
    })
    const { sub = '', client_id: clientId, exp = 0 } = payload
    if (!sub.startsWith('service:') || typeof clientId !== 'string') throw invalid()
    return { service: sub.slice('service:'.length), clientId, expiresAt: new Date(exp * 1_000) }
  }

  return {
    get trust() {
      return trust
    },

    learn,

    async verify(token, audience) {
      if (token.length > tokenLengthMax) throw invalid()
      try {
        try {
          return await check(token, audience)
        } catch (error) {
          if (!(error instanceof errors.JWKSNoMatchingKey)) throw error
          await relearn()
          if (!trust) {
            throw new TokenError(
              'keys_unknown',
              'The keys of the house are not known yet, and it cannot be reached.',
            )
          }
          return await check(token, audience)
        }
      } catch (error) {
        throw refusalOf(error, audience)
      }
    },
  }
}

/** Who signs the tokens of this house, as its own answer to this service's key says. */
export function issuerOf(token: string): string {
  const { iss } = decodeJwt(token)
  if (typeof iss !== 'string' || iss === '')
    throw new Error('The token of the house has no issuer.')
  return iss
}

function invalid(): TokenError {
  return new TokenError('token_invalid', 'The token is not one of this house.')
}

function refusalOf(error: unknown, audience: Audience): TokenError {
  if (error instanceof TokenError) return error
  if (error instanceof errors.JWTExpired) {
    return new TokenError('token_expired', 'The token has expired.')
  }
  if (error instanceof errors.JWTClaimValidationFailed && error.claim === 'aud') {
    return new TokenError('token_wrong_audience', `The token was not made for "${audience}".`)
  }
  return invalid()
}
