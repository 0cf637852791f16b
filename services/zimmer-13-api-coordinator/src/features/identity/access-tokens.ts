/**
 * Access tokens: EdDSA JWTs in the form of RFC 9068, signed with a key that is derived from the
 * root, so that every replica signs and verifies alike and nothing has to be stored.
 *
 * It says whether a token is one of this house, whole, in time and for the audience that asks;
 * whether the key behind it still lives is the caller's to ask of the view. No token is handed out
 * twice: signing takes some 60 µs, a client asks every 15 minutes, and a shared `jti` would blur
 * which process used it.
 */
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { HausError, tokenTtlSeconds, type Audience, type ErrorCode } from '@haus/contract'
import { calculateJwkThumbprint, errors, jwtVerify, SignJWT, type JWTPayload } from 'jose'
import type { Clock } from '../../platform/clock/clock.ts'
import type { Key, Random } from '../../platform/crypto/index.ts'

export interface PublicJwk {
  readonly kty: 'OKP'
  readonly crv: 'Ed25519'
  readonly x: string
  readonly kid: string
  readonly alg: 'EdDSA'
  readonly use: 'sig'
}

interface TokenClaims {
  readonly clientId: string
  readonly service: string
  readonly audience: Audience
}

interface VerifiedToken extends TokenClaims {
  /** Wall time. */
  readonly expiresAtMs: number
}

export interface AccessTokens {
  readonly jwk: PublicJwk
  sign(claims: TokenClaims): Promise<string>
  /** @throws HausError token_invalid, token_expired, token_wrong_audience. */
  verify(token: string, audience: Audience): Promise<VerifiedToken>
}

/** Ours have some 500 characters. What is longer is refused before any of it is parsed. */
export const tokenSizeMax = 4_096
/** Past `exp`, for the clocks of two replicas; NTP keeps them far closer. */
export const leewaySeconds = 5
const algorithm = 'EdDSA'
const type = 'at+jwt'
const subjectPrefix = 'service:'
/** RFC 8410: an Ed25519 private key in PKCS #8 is this and its seed. */
const pkcs8Head = Buffer.from('302e020100300506032b657004220420', 'hex')

export async function createAccessTokens(options: {
  readonly houseId: string
  readonly seed: Key
  readonly clock: Clock
  readonly random: Random
}): Promise<AccessTokens> {
  const { houseId, seed, clock, random } = options
  const issuer = `urn:haus:${houseId}`
  const privateKey = createPrivateKey({
    key: Buffer.concat([pkcs8Head, seed.reveal()]),
    format: 'der',
    type: 'pkcs8',
  })
  const publicKey = createPublicKey(privateKey)
  const { x = '' } = publicKey.export({ format: 'jwk' })
  const kid = await calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x })
  // Converted once: jose would look the conversion up at every call.
  const signingKey = privateKey.toCryptoKey('Ed25519', false, ['sign'])
  const verifyingKey = publicKey.toCryptoKey('Ed25519', true, ['verify'])

  function keyFor(header: { kid?: string; crit?: unknown }) {
    // Nothing that is critical to somebody else is understood here, however well jose knows it.
    if (header.kid !== kid || header.crit !== undefined) throw invalid()
    return verifyingKey
  }

  return {
    jwk: { kty: 'OKP', crv: 'Ed25519', x, kid, alg: algorithm, use: 'sig' },

    sign({ clientId, service, audience }) {
      const nowSeconds = Math.floor(clock.now().getTime() / 1_000)
      return new SignJWT({ client_id: clientId })
        .setProtectedHeader({ alg: algorithm, typ: type, kid })
        .setIssuer(issuer)
        .setSubject(`${subjectPrefix}${service}`)
        .setAudience(audience)
        .setIssuedAt(nowSeconds)
        .setExpirationTime(nowSeconds + tokenTtlSeconds)
        .setJti(random.id())
        .sign(signingKey)
    },

    async verify(token, audience) {
      if (token.length > tokenSizeMax) throw invalid()
      try {
        const { payload } = await jwtVerify(token, keyFor, {
          algorithms: [algorithm],
          typ: type,
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
