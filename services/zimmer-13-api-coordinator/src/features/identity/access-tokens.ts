/**
 * Access tokens: EdDSA JWTs in the form of RFC 9068, signed with a key that is derived from the
 * root, so that every replica signs and verifies alike and nothing has to be stored.
 *
 * No token is handed out twice: signing takes some 60 µs, a client asks every 15 minutes, and a
 * shared `jti` would blur which process used it.
 */
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { tokenTtlSeconds } from '@haus/contract'
import { calculateJwkThumbprint, SignJWT } from 'jose'
import type { Clock } from '../../platform/clock/clock.ts'
import {
  accessTokenAlgorithm,
  accessTokenType,
  createAccessTokenVerifier,
  subjectPrefix,
  type AccessTokenVerifier,
  type PublicJwk,
  type TokenClaims,
} from '../../platform/crypto/access-token-verifier.ts'
import type { Key, Random } from '../../platform/crypto/index.ts'

export interface AccessTokens extends AccessTokenVerifier {
  readonly jwk: PublicJwk
  sign(claims: TokenClaims): Promise<string>
}

/** RFC 8410: an Ed25519 private key in PKCS #8 is this and its seed. */
const pkcs8Head = Buffer.from('302e020100300506032b657004220420', 'hex')

/** What a token of this house names as its issuer. */
export function issuerOf(houseId: string): string {
  return `urn:haus:${houseId}`
}

export async function createAccessTokens(options: {
  readonly houseId: string
  readonly seed: Key
  readonly clock: Clock
  readonly random: Random
}): Promise<AccessTokens> {
  const { houseId, seed, clock, random } = options
  const issuer = issuerOf(houseId)
  const privateKey = createPrivateKey({
    key: Buffer.concat([pkcs8Head, seed.reveal()]),
    format: 'der',
    type: 'pkcs8',
  })
  const { x = '' } = createPublicKey(privateKey).export({ format: 'jwk' })
  const kid = await calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x })
  const jwk: PublicJwk = {
    kty: 'OKP',
    crv: 'Ed25519',
    x,
    kid,
    alg: accessTokenAlgorithm,
    use: 'sig',
  }
  // Converted once: jose would look the conversion up at every call.
  const signingKey = privateKey.toCryptoKey('Ed25519', false, ['sign'])
  const verifier = createAccessTokenVerifier({ issuer, jwk, clock })

  return {
    jwk,
    verify: verifier.verify,

    sign({ clientId, service, audience }) {
      const nowSeconds = Math.floor(clock.now().getTime() / 1_000)
      return new SignJWT({ client_id: clientId })
        .setProtectedHeader({ alg: accessTokenAlgorithm, typ: accessTokenType, kid })
        .setIssuer(issuer)
        .setSubject(`${subjectPrefix}${service}`)
        .setAudience(audience)
        .setIssuedAt(nowSeconds)
        .setExpirationTime(nowSeconds + tokenTtlSeconds)
        .setJti(random.id())
        .sign(signingKey)
    },
  }
}
