/**
 * Who a service's token speaks for: EdDSA JWTs in the form of RFC 9068, checked with the public
 * key of the house alone. The gateway's thread and every other holder of that key verify alike,
 * and none of them can sign.
 *
 * It says whether a token is one of this house, whole, in time and for the audience that asks;
 * whether the key behind it still lives is the caller's to know.
 */
import { createPublicKey } from 'node:crypto'
import { HausError, type ErrorCode } from '@haus/contract/errors'
import type { Audience } from '@haus/contract'
import { errors, jwtVerify, type JWTPayload } from 'jose'
import type { Clock } from '../clock/clock.ts'

export interface PublicJwk {
  readonly kty: 'OKP'
  readonly crv: 'Ed25519'
  readonly x: string
  readonly kid: string
  readonly alg: 'EdDSA'
  readonly use: 'sig'
}

export interface TokenClaims {
  readonly clientId: string
  readonly service: string
  readonly audience: Audience
}

export interface VerifiedToken extends TokenClaims {
  /** Wall time. */
  readonly expiresAtMs: number
}

export interface AccessTokenVerifier {
  /** @throws HausError token_invalid, token_expired, token_wrong_audience. */
  verify(token: string, audience: Audience): Promise<VerifiedToken>
}

/** Ours have some 500 characters. What is longer is refused before any of it is parsed. */
export const tokenSizeMax = 4_096
/** Past `exp`, for the clocks of two replicas; NTP keeps them far closer. */
export const leewaySeconds = 5
export const accessTokenAlgorithm = 'EdDSA'
export const accessTokenType = 'at+jwt'
export const subjectPrefix = 'service:'

export function createAccessTokenVerifier(options: {
  readonly issuer: string
  readonly jwk: PublicJwk
  readonly clock: Clock
}): AccessTokenVerifier {
  const { issuer, jwk, clock } = options
  // Converted once: jose would look the conversion up at every call.
  const { kty, crv, x } = jwk
  const verifyingKey = createPublicKey({ format: 'jwk', key: { kty, crv, x } }).toCryptoKey(
    'Ed25519',
    true,
    ['verify'],
  )

  function keyFor(header: { kid?: string; crit?: unknown }) {
    // Nothing that is critical to somebody else is understood here, however well jose knows it.
    if (header.kid !== jwk.kid || header.crit !== undefined) throw invalid()
    return verifyingKey
  }

  return {
    async verify(token, audience) {
      if (token.length > tokenSizeMax) throw invalid()
      try {
        const { payload } = await jwtVerify(token, keyFor, {
          algorithms: [accessTokenAlgorithm],
          typ: accessTokenType,
          issuer,
          audience,
          requiredClaims: ['sub', 'client_id', 'iat', 'exp', 'jti'],
          clockTolerance: leewaySeconds,
          currentDate: clock.now(),
        })
        return readClaims(payload, audience)
      } catch (error) {
        throw refusalOf(error, audience)
      }
    },
  }
}

function readClaims(payload: JWTPayload, audience: Audience): VerifiedToken {
  const { sub, exp, aud, iat, jti, client_id: clientId } = payload
  // jose has checked that all are there; the types of some are left to us.
  if (
    typeof clientId !== 'string' ||
    typeof jti !== 'string' ||
    iat === undefined ||
    typeof sub !== 'string' ||
    !sub.startsWith(subjectPrefix) ||
    exp === undefined ||
    aud !== audience
  ) {
    throw invalid()
  }
  return {
    clientId,
    service: sub.slice(subjectPrefix.length),
    audience,
    expiresAtMs: exp * 1_000,
  }
}

function refusalOf(error: unknown, audience: Audience): HausError {
  if (error instanceof HausError) return error
  if (error instanceof errors.JWTExpired) return expired()
  if (error instanceof errors.JWTClaimValidationFailed && error.claim === 'aud') {
    return refusedToken(
      'token_wrong_audience',
      'The token was made for another audience',
      `get one at POST /api/auth/token with "audience": "${audience}"`,
    )
  }
  return invalid(error)
}

export function invalid(cause?: unknown): HausError {
  return refusedToken(
    'token_invalid',
    'The bearer token in the Authorization header is not one of this house',
    'get one at POST /api/auth/token',
    cause,
  )
}

export function expired(): HausError {
  return refusedToken(
    'token_expired',
    'The token has expired',
    'get a new one at POST /api/auth/token',
  )
}

export function revoked(): HausError {
  return refusedToken(
    'token_revoked',
    'The key behind the token has been revoked',
    'ask an operator for a new key',
  )
}

/** Every refusal of a token names the header that carries it, and how to get one that is taken. */
export function refusedToken(
  code: ErrorCode,
  fault: string,
  mend: string,
  cause?: unknown,
): HausError {
  return new HausError(code, `${fault}: ${mend}.`, {
    cause,
    fields: [{ field: 'header.authorization', detail: mend }],
  })
}
