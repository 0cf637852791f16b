/**
 * Who is asking. Paid by every request, so a token that was verified before costs one lookup.
 *
 * Time: `exp` is wall time, because it has to mean the same to everyone, and is looked at once,
 * when a token is verified here. From then on the token has a deadline on the monotonic clock, and
 * stays here past it: when the wall clock jumps back, an expired token is remembered as expired,
 * and when it jumps forward, a token that was accepted keeps the rest of its 15 minutes, while one
 * that is new to this process is refused as expired and its owner gets another. No token lives
 * longer than 15 minutes and the leeway from its first use, whatever its `exp` says.
 *
 * A right token is never refused for what others did from the same address; wrong ones beyond
 * their limit get 429 instead of 401. They are counted, not logged and not audited: a stranger
 * must not fill a disk.
 */
import { HausError, tokenTtlSeconds, type Audience } from '@haus/contract'
import type { Clock } from '../../platform/clock/clock.ts'
import {
  expired,
  invalid,
  leewaySeconds,
  refusedToken,
  revoked,
  tokenSizeMax,
} from '../../platform/crypto/access-token-verifier.ts'
import { equalBytes } from '../../platform/crypto/index.ts'
import type { Caller } from '../../platform/http/caller.ts'
import type { AccessTokens } from './access-tokens.ts'
import {
  hashOperatorToken,
  metricsTokenPrefix,
  operatorTokenPrefix,
  type IdentityKeys,
} from './identity-keys.ts'
import type { IdentityView } from './identity-view.ts'
import { Lru } from '../../platform/cache/lru.ts'
import type { Principal } from './principal.ts'
import { networkOf, TokenBuckets } from './token-buckets.ts'

export interface Authenticator {
  /**
   * Answers at once for a token it knows; throws, or rejects, when there is none that holds.
   * @throws HausError unauthenticated, token_*, rate_limited.
   */
  authenticate(authorization: string | undefined, source: string): Caller | Promise<Caller>
  /** A service token for another audience; `token` without its scheme. Limits are the caller's. */
  verify(token: string, audience: Audience): Promise<Caller>
  readonly refused: number
  readonly cached: number
}

interface Verified {
  readonly caller: Caller
  readonly principal: Principal
  readonly deadlineMs: number
}

/** Some 800 bytes each, most of it the token itself: 8 MB when full. */
const cachedMax = 10_000
/** The leeway counts here as in the verification: a token that was accepted is not refused a moment later. */
const tokenLifeMaxMs = (tokenTtlSeconds + leewaySeconds) * 1_000
/** Wrong bearer tokens per address: a broken client in a loop, or a probe. */
const wrongTokens = { burst: 100, perSecond: 10 }
const bearer = /^bearer +([\x21-\x7e]+)$/i
const schemeSizeMax = 16

const scraper: Caller = {
  kind: 'scraper',
  actor: 'scraper',
  service: null,
  expiresAtMonotonicMs: null,
  revoked: null,
}

/** Other spellings are right, and not remembered: one token would have thousands of places here. */
function isUsual(authorization: string, token: string): boolean {
  return authorization === `Bearer ${token}` || authorization === `bearer ${token}`
}

function missing(): HausError {
  return refusedToken(
    'unauthenticated',
    'A token is needed',
    'send the header "Authorization: Bearer <token>"',
  )
}

export function createAuthenticator(options: {
  readonly view: IdentityView
  readonly keys: IdentityKeys
  readonly tokens: AccessTokens
  readonly clock: Clock
}): Authenticator {
  const { view, keys, tokens, clock } = options
  const known = new Lru<Verified>(cachedMax)
  /** Bounded by the connections: each waits for one. */
  const verifying = new Map<string, Promise<Verified>>()
  const wrong = new TokenBuckets(clock, wrongTokens)
  // Hashed like an operator token, so that the comparison is of two hashes and tells no length.
  const metricsHash = hashOperatorToken(keys, keys.metricsToken.reveal())
  let refused = 0

  function refuse(error: HausError, source: string): HausError {
    refused += 1
    const waitSeconds = wrong.take(networkOf(source))
    if (waitSeconds === 0) return error
    const retryAfterSeconds = Math.ceil(waitSeconds)
    return new HausError(
      'rate_limited',
      `Too many wrong tokens from this address; a right one is always taken. Try again in ${retryAfterSeconds} s.`,
      { retryAfterSeconds },
    )
  }

  function authenticate(
    authorization: string | undefined,
    source: string,
  ): Caller | Promise<Caller> {
    if (authorization === undefined) throw missing()
    const hit = known.get(authorization)
    if (hit === undefined) return look(authorization, source)
    if (!hit.principal.live) throw refuse(revoked(), source)
    if (clock.monotonicMs() >= hit.deadlineMs) throw refuse(expired(), source)
    return hit.caller
  }

  function look(authorization: string, source: string): Caller | Promise<Caller> {
    if (authorization.length > tokenSizeMax + schemeSizeMax) throw refuse(invalid(), source)
    const token = bearer.exec(authorization)?.[1]
    if (token === undefined) {
      throw refuse(missing(), source)
    }
    if (token.startsWith(operatorTokenPrefix)) {
      const operator = operatorOf(token)
      if (operator === undefined) throw refuse(invalid(), source)
      return operator
    }
    if (token.startsWith(metricsTokenPrefix)) {
      if (!equalBytes(hashOperatorToken(keys, token), metricsHash)) throw refuse(invalid(), source)
      return scraper
    }
    return verifyOnce(authorization, token).then(
      (verified) => verified.caller,
      (error: unknown) => {
        throw error instanceof HausError ? refuse(error, source) : error
      },
    )
  }

  /** A signature costs as much as three answers: requests that bring the same new token share one. */
  function verifyOnce(authorization: string, token: string): Promise<Verified> {
    const under = verifying.get(authorization)
    if (under !== undefined) return under
    const verified = verifyService(token, 'haus')
      .then((answer) => {
        if (isUsual(authorization, token)) known.set(authorization, answer)
        return answer
      })
      .finally(() => verifying.delete(authorization))
    verifying.set(authorization, verified)
    return verified
  }

  /** Not cached: one HMAC, some 3 µs, keeps the lookup in constant time. */
  function operatorOf(token: string): Caller | undefined {
    const operator = view.operatorToken(hashOperatorToken(keys, token))
    if (operator === undefined) return undefined
    return {
      kind: 'operator',
      actor: 'operator',
      service: null,
      expiresAtMonotonicMs: null,
      revoked: operator.principal.revoked,
    }
  }

  async function verifyService(token: string, audience: Audience): Promise<Verified> {
    const claims = await tokens.verify(token, audience)
    const key = view.key(claims.clientId)
    if (!key?.principal.live || key.row.service !== claims.service) throw revoked()
    const leftMs = Math.min(
      claims.expiresAtMs - clock.now().getTime() + leewaySeconds * 1_000,
      tokenLifeMaxMs,
    )
    const deadlineMs = clock.monotonicMs() + leftMs
    return {
      caller: {
        kind: 'service',
        actor: `service:${claims.service}`,
        service: claims.service,
        expiresAtMonotonicMs: deadlineMs,
        revoked: key.principal.revoked,
      },
      principal: key.principal,
      deadlineMs,
    }
  }

  return {
    authenticate,
    verify: async (token, audience) => (await verifyService(token, audience)).caller,
    get refused() {
      return refused
    },
    get cached() {
      return known.size
    },
  }
}
