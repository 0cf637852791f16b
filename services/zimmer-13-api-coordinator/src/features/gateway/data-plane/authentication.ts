/**
 * Who calls. A token is verified once, and from then on costs one lookup: its key must still live,
 * and its deadline is on the monotonic clock, as at the API.
 *
 * The operator's token is not taken here, so that nobody gets used to sending it to services.
 */
import { HausError } from '@haus/contract/errors'
import type { Clock } from '../../../platform/clock/clock.ts'
import {
  expired,
  invalid,
  leewaySeconds,
  refusedToken,
  revoked,
  tokenSizeMax,
  type AccessTokenVerifier,
} from '../../../platform/crypto/access-token-verifier.ts'
import { Lru } from '../../../platform/cache/lru.ts'
import type { KeyChange } from '../messages.ts'

export interface GatewayCaller {
  readonly service: string
  readonly clientId: string
  /** On the monotonic clock. */
  readonly deadlineMs: number
}

export interface Authentication {
  /**
   * The caller behind a token, at once when it is known.
   * @throws HausError unauthenticated, token_*
   */
  callerOf(token: string | null): GatewayCaller | Promise<GatewayCaller>
  /** False once the key behind the caller's token has been revoked. */
  lives(caller: GatewayCaller): boolean
  /** True when the token is one of this house, for whatever it was made: it must not travel on. */
  isOurs(authorization: string): boolean
  learn(changes: readonly KeyChange[], loaded: boolean): void
}

/** Some 800 bytes each. */
const rememberedMax = 10_000
/** A signature takes some 100 µs on another thread: more at once is somebody who makes them up. */
const verifyingMax = 256
const bearer = /^bearer +([\x21-\x7e]+)$/i
const houseTokens = /^(?:haus_op_|haus_mt_|hsk_)/

export function createAuthentication(options: {
  readonly verifier: AccessTokenVerifier
  readonly keyId: string
  readonly tokenTtlSeconds: number
  readonly clock: Clock
}): Authentication {
  const { verifier, clock, keyId } = options
  const tokenLifeMaxMs = (options.tokenTtlSeconds + leewaySeconds) * 1_000
  let live = new Map<string, string>()
  const known = new Lru<GatewayCaller>(rememberedMax)
  const verifying = new Map<string, Promise<GatewayCaller>>()

  function verifyOnce(token: string): Promise<GatewayCaller> {
    const under = verifying.get(token)
    if (under !== undefined) return under
    if (verifying.size >= verifyingMax) {
      throw new HausError('overloaded', 'Too many new tokens at once; try again.')
    }
    const verified = verify(token).finally(() => verifying.delete(token))
    verifying.set(token, verified)
    return verified
  }

  async function verify(token: string): Promise<GatewayCaller> {
    const { clientId, service, expiresAtMs } = await verifier.verify(token, 'haus-gateway')
    const leftMs = expiresAtMs - clock.now().getTime() + leewaySeconds * 1_000
    const deadlineMs = clock.monotonicMs() + Math.min(leftMs, tokenLifeMaxMs)
    const caller = { clientId, service, deadlineMs }
    known.set(token, caller)
    return check(caller)
  }

  function lives({ clientId, service }: GatewayCaller): boolean {
    return live.get(clientId) === service
  }

  function check(caller: GatewayCaller): GatewayCaller {
    if (!lives(caller)) throw revoked()
    if (clock.monotonicMs() >= caller.deadlineMs) throw expired()
    return caller
  }

  return {
    callerOf(token) {
      if (token === null || token === '') {
        throw refusedToken(
          'unauthenticated',
          'A token is needed',
          'send "Haus-Token: <token>" or "Authorization: Bearer <token>" with a token for the audience haus-gateway',
        )
      }
      const hit = known.get(token)
      if (hit !== undefined) return check(hit)
      if (houseTokens.test(token)) {
        throw refusedToken(
          'token_invalid',
          'The gateway takes the tokens of services only',
          'get one at POST /api/auth/token with "audience": "haus-gateway"',
        )
      }
      if (token.length > tokenSizeMax) throw invalid()
      return verifyOnce(token)
    },

    lives,

    isOurs(authorization) {
      const token = bearerToken(authorization)
      if (token === null) return false
      return houseTokens.test(token) || known.get(token) !== undefined || isSignedBy(token, keyId)
    },

    learn(changes, loaded) {
      if (loaded) live = new Map()
      for (const { clientId, service } of changes) {
        if (service === null) live.delete(clientId)
        else live.set(clientId, service)
      }
    },
  }
}

export function bearerToken(authorization: string): string | null {
  return bearer.exec(authorization)?.[1] ?? null
}

function isSignedBy(token: string, keyId: string): boolean {
  const end = token.indexOf('.')
  if (end === -1 || token.length > tokenSizeMax) return false
  return Buffer.from(token.slice(0, end), 'base64url').toString('latin1').includes(keyId)
}
