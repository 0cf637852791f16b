/**
 * Identity at work: keys of services, tokens for them, the operator's token.
 *
 * Nobody can lock a client out. A right secret is checked first and always wins; only wrong ones
 * are counted against anybody. An unknown client and a wrong secret cost the same and get the same
 * answer. It keeps no plaintext: secrets leave in the answer that makes them.
 */
import {
  HausError,
  reservedServiceNames,
  tokenTtlSeconds,
  type Audience,
  type ErrorCode,
} from '@haus/contract'
import { auditOf, auditOfRefusal } from '../audit/index.ts'
import type { Clock } from '../../platform/clock/clock.ts'
import { equalBytes, Secret, type Random } from '../../platform/crypto/index.ts'
import type { RequestContext } from '../../platform/http/caller.ts'
import { decodeCursor, pageFrom } from '../../platform/http/cursor.ts'
import {
  GuardLost,
  write,
  type AuditEntry,
  type Entry,
  type Ledger,
} from '../../platform/ledger/index.ts'
import type { Log } from '../../platform/log/log.ts'
import type { PublicJwk } from '../../platform/crypto/access-token-verifier.ts'
import { createAccessTokens, issuerOf } from './access-tokens.ts'
import { createAuthenticator, type Authenticator } from './authenticator.ts'
import type { ClientCredentials } from './client-credentials.ts'
import type { House } from './house.ts'
import {
  clientSecretPrefix,
  hashClientSecret,
  hashOperatorToken,
  macOfOperatorToken,
  macOfServiceKey,
  type OperatorTokenRow,
} from './identity-keys.ts'
import type { IdentityView, ServiceKey } from './identity-view.ts'
import { provideMetricsToken } from './metrics-token.ts'
import {
  adoptNextToken,
  dropNextToken,
  prepareNextToken,
  settleOperatorToken,
} from './operator-token.ts'
import {
  endServiceKey,
  forgetServiceKey,
  insertServiceKey,
  liveKeysMax,
  replaceOperatorTokens,
} from './store.ts'
import { networkOf, TokenBuckets } from './token-buckets.ts'

export interface NewKey {
  readonly clientId: string
  readonly clientSecret: Secret
  readonly service: string
  readonly createdAt: string
}

interface KeyDescription {
  readonly clientId: string
  readonly service: string
  readonly createdAt: string
  readonly revokedAt: string | null
  readonly lastUsedAt: string | null
}

interface IdentityStatus {
  readonly keys: number
  /** Rows whose MAC was wrong, each counted once; more than 0 means somebody writes to the database. */
  readonly integrityFailures: number
  readonly tokensIssued: number
  readonly clientsRefused: number
  readonly tokensRefused: number
  readonly tokensCached: number
  /** Tokens and refusals that could not be audited because the database was away. */
  readonly unaudited: number
}

export interface Identity extends Pick<Authenticator, 'authenticate' | 'verify'> {
  /** After the ledger has loaded the view, before the first request: settles the token files. */
  start(): Promise<void>
  createServiceKey(name: string, context: RequestContext): Promise<NewKey>
  listServiceKeys(
    name: string,
    page: { readonly limit: number; readonly cursor?: string | undefined },
  ): { items: KeyDescription[]; nextCursor: string | null }
  revokeServiceKey(name: string, clientId: string, context: RequestContext): Promise<void>
  issueToken(
    client: ClientCredentials,
    audience: Audience,
    context: RequestContext,
  ): Promise<{ accessToken: Secret; expiresInSeconds: number }>
  /** @returns the file that holds the new token. */
  renewOperatorToken(): Promise<string>
  jwks(): { keys: PublicJwk[] }
  /** What tokens of this house name as their issuer. */
  readonly issuer: string
  status(): IdentityStatus
}

export interface IdentityOptions {
  readonly house: House
  readonly view: IdentityView
  readonly ledger: Ledger
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly dataDir: string
  /** From an alias to the service's name; a key is always the service's. */
  readonly resolveService?: (nameOrAlias: string) => string
  readonly limits?: KeyLimits
}

/** Of the house, over all its services. */
interface KeyLimits {
  readonly liveKeys: number
  /** Kept so that they can be listed; an unknown key is refused like a revoked one. */
  readonly revokedKeys: number
}

const clientSecretSizeBytes = 32
/** Of one service. Enough to see what was there; more would only grow. */
const revokedKeysKept = 64
/** With them the view's bound, some 15 MB. Live: 200 services with fifty keys each, and twice that. */
const houseLimits = { liveKeys: 20_000, revokedKeys: 10_000 }
/** Of the limit, beyond which so many go at once: finding the oldest of 10,000 takes milliseconds. */
const forgottenShare = 0.05
/** Somebody sits before it and waits; a disk that needs longer needs a look. */
const renewalPatienceMs = 20_000
const renewalPauseMs = 500

/** Wrong secrets for one client id from one address: somebody types, or a deployment has an old secret. */
const wrongSecrets = { burst: 10, perSecond: 0.2 }
/** Wrong secrets from one address, whatever the client ids. */
const wrongClients = { burst: 50, perSecond: 1 }
/** Tokens for one key: a whole fleet may start at once, a loop may not write the audit full. */
const rightClients = { burst: 60, perSecond: 10 }

/** Stands in for the hash of a client that does not exist; no HMAC will ever equal it. */
const noHash = Buffer.alloc(32)

export async function createIdentity(options: IdentityOptions): Promise<Identity> {
  const { house, view, ledger, clock, random, log, dataDir } = options
  const { resolveService = (name: string) => name, limits = houseLimits } = options
  const { keys } = view
  const tokens = await createAccessTokens({
    houseId: house.houseId,
    seed: keys.tokenSeed,
    clock,
    random,
  })
  const authenticator = createAuthenticator({ view, keys, tokens, clock })
  const wrongPerClient = new TokenBuckets(clock, wrongSecrets)
  const wrongPerSource = new TokenBuckets(clock, wrongClients)
  const rightPerClient = new TokenBuckets(clock, rightClients)
  let tokensIssued = 0
  let clientsRefused = 0
  let unaudited = 0

  async function createServiceKey(name: string, context: RequestContext): Promise<NewKey> {
    const service = resolveService(name)
    if (reservedServiceNames.has(service)) {
      const detail = `path.name "${service}" is reserved for routes of Haus: choose another name.`
      throw new HausError('invalid_request', detail, { fields: [{ field: 'path.name', detail }] })
    }
    if (view.liveKeysOf(service) >= liveKeysMax) throw tooManyKeys(service)
    const live = view.liveKeysOfAll()
    if (live >= limits.liveKeys) {
      throw new HausError(
        'limit_reached',
        `The house has ${limits.liveKeys} live keys, which is its limit: revoke what is not used with DELETE /api/services/{name}/keys/{clientId}.`,
      )
    }
    const clientId = random.id()
    const clientSecret = new Secret(
      `${clientSecretPrefix}${random.bytes(clientSecretSizeBytes).toString('base64url')}`,
    )
    const row = {
      clientId,
      service,
      secretHash: hashClientSecret(keys, clientId, clientSecret.reveal()),
      createdAt: clock.now(),
      revokedAt: null,
    }
    const createdAt = row.createdAt.toISOString()
    const forgotten = oldestRevokedOfAll(view.size - live)
    try {
      await ledger.append({
        keys: [ledgerKeyOf(service)],
        writes: [
          write(insertServiceKey, {
            clientId,
            service,
            secretHash: row.secretHash.toString('base64'),
            createdAt,
            mac: macOfServiceKey(keys, row).toString('base64'),
          }),
          ...forgotten.map((each) => write(forgetServiceKey, { clientId: each })),
        ],
        events: [
          {
            type: 'haus.key.created',
            subject: `services/${service}`,
            service: null,
            data: { clientId, service, ...(forgotten.length > 0 && { forgotten }) },
          },
        ],
        audit: auditOf(context, targetOf(service, clientId)),
      })
    } catch (error) {
      if (error instanceof GuardLost) throw tooManyKeys(service)
      throw error
    }
    return { clientId, clientSecret, service, createdAt }
  }

  function listServiceKeys(
    name: string,
    { limit, cursor }: { readonly limit: number; readonly cursor?: string | undefined },
  ) {
    const after = decodeCursor(cursor) ?? ''
    const following = view.keysOf(resolveService(name)).filter(({ row }) => row.clientId > after)
    return pageFrom(following.slice(0, limit + 1).map(describe), limit, ({ clientId }) => clientId)
  }

  async function revokeServiceKey(
    name: string,
    clientId: string,
    context: RequestContext,
  ): Promise<void> {
    const service = resolveService(name)
    const key = view.key(clientId)
    if (key === undefined || key.row.service !== service) {
      throw new HausError(
        'key_not_found',
        `The service "${service}" has no key "${clientId}": GET /api/services/${service}/keys lists them.`,
        { fields: [{ field: 'path.clientId', detail: `is not a key of "${service}"` }] },
      )
    }
    if (key.row.revokedAt !== null) return
    const row = { ...key.row, revokedAt: clock.now() }
    const forgotten = oldestRevoked(service)
    try {
      await ledger.append({
        keys: [ledgerKeyOf(service)],
        writes: [
          write(endServiceKey, {
            clientId,
            service,
            revokedAt: row.revokedAt.toISOString(),
            mac: macOfServiceKey(keys, row).toString('base64'),
          }),
          ...forgotten.map((each) => write(forgetServiceKey, { clientId: each })),
        ],
        events: [
          {
            type: 'haus.key.revoked',
            subject: `services/${service}`,
            service: null,
            data: { clientId, service, ...(forgotten.length > 0 && { forgotten }) },
          },
        ],
        audit: auditOf(context, targetOf(service, clientId)),
      })
    } catch (error) {
      if (!(error instanceof GuardLost)) throw error
      // Revoked by another process, or taken out by a stranger: in both cases it must end here.
      await view.reload([clientId])
    }
  }

  /** What goes so that with one more the newest 64 are left. */
  function oldestRevoked(service: string): string[] {
    return revokedIds(view.keysOf(service)).slice(revokedKeysKept - 1)
  }

  /**
   * With every new key, so that revoked ones of ever new services do not fill the house: as many
   * are revoked as were made. Their tokens stay refused, since no key of theirs is known.
   */
  function oldestRevokedOfAll(revokedNow: number): string[] {
    if (revokedNow <= limits.revokedKeys) return []
    return revokedIds(view.allKeys()).slice(-Math.ceil(limits.revokedKeys * forgottenShare))
  }

  async function issueToken(
    client: ClientCredentials,
    audience: Audience,
    context: RequestContext,
  ) {
    const { clientId, clientSecret } = client
    const key = view.key(clientId)
    const shown = hashClientSecret(keys, clientId, clientSecret)
    const right = equalBytes(shown, key?.row.secretHash ?? noHash)
    if (key === undefined || !right) {
      return refuseClient(key, clientId, context, 'The client id or the secret is wrong.')
    }
    if (!key.principal.live) {
      // Said only to who has the secret, so it tells a stranger nothing.
      return refuseClient(key, clientId, context, 'The key has been revoked: ask for a new one.')
    }
    const waitSeconds = rightPerClient.take(clientId)
    if (waitSeconds > 0) {
      throw tooMany(
        `Too many tokens for this key: a token is valid for ${tokenTtlSeconds} s, keep it.`,
        waitSeconds,
      )
    }
    const { service } = key.row
    const accessToken = new Secret(await tokens.sign({ clientId, service, audience }))
    await record({
      ...auditOf(context, targetOf(service, clientId), { audience }),
      actor: `service:${service}`,
    })
    if (!key.principal.live) {
      return refuseClient(key, clientId, context, 'The key has been revoked: ask for a new one.')
    }
    key.lastUsedAt = clock.now()
    tokensIssued += 1
    return { accessToken, expiresInSeconds: tokenTtlSeconds }
  }

  async function refuseClient(
    key: ServiceKey | undefined,
    clientId: string,
    context: RequestContext,
    detail: string,
  ): Promise<never> {
    clientsRefused += 1
    const network = networkOf(context.source)
    const waitSeconds = Math.max(
      wrongPerSource.take(network),
      wrongPerClient.take(`${network} ${clientId}`),
    )
    if (waitSeconds > 0) {
      throw tooMany('Too many wrong client secrets from this address.', waitSeconds)
    }
    // An id that nobody has is text of a stranger's choice and stays out of the audit.
    const target = key ? targetOf(key.row.service, clientId) : 'keys/unknown'
    await record(auditOfRefusal(context, target, 'denied', 'invalid_client'))
    throw new HausError('invalid_client', detail)
  }

  /**
   * Tokens are given and refused while the database is away, or a minute's outage would end every
   * client whose 15 minutes end in it; what is done with a token is audited without exception.
   */
  async function record(audit: AuditEntry): Promise<void> {
    try {
      await ledger.append({ keys: [], writes: [], events: [], audit })
    } catch (error) {
      const away =
        error instanceof HausError &&
        (error.code === 'writes_unavailable' || error.code === 'write_outcome_unknown')
      if (!away) throw error
      unaudited += 1
    }
  }

  function renewalOf(row: OperatorTokenRow): Entry {
    return {
      keys: ['operator-token'],
      writes: [
        write(replaceOperatorTokens, {
          id: row.id,
          tokenHash: row.tokenHash.toString('base64'),
          createdAt: row.createdAt.toISOString(),
          mac: macOfOperatorToken(keys, row).toString('base64'),
        }),
      ],
      events: [
        {
          type: 'haus.operator.changed',
          subject: 'operator',
          service: null,
          data: { tokenId: row.id },
        },
      ],
      audit: {
        actor: 'haus',
        action: 'renewOperatorToken',
        target: `operator-tokens/${row.id}`,
        outcome: 'allowed',
        code: null,
        source: null,
        requestId: null,
        detail: {},
      },
    }
  }

  /**
   * It runs before the house opens, where nobody else waits: a slow disk gets more time than the
   * 250 ms of a request, and what may have been written is looked for instead of written twice.
   */
  async function writeRenewal(row: OperatorTokenRow): Promise<void> {
    const endMs = clock.monotonicMs() + renewalPatienceMs
    for (;;) {
      try {
        await ledger.append(renewalOf(row))
        return
      } catch (error) {
        if (isCode(error, 'write_outcome_unknown')) break
        if (!isCode(error, 'writes_unavailable')) throw error
        if (clock.monotonicMs() >= endMs) throw notRenewed(error)
        await pause()
      }
    }
    while (view.operatorToken(row.tokenHash) === undefined) {
      if (clock.monotonicMs() >= endMs) throw new RenewalUnknown()
      await pause()
    }
  }

  async function renewOperatorToken(): Promise<string> {
    const token = await prepareNextToken(dataDir, random)
    const tokenHash = hashOperatorToken(keys, token.reveal())
    try {
      await writeRenewal({ id: random.id(), tokenHash, createdAt: clock.now() })
    } catch (error) {
      // What may have been written is left to the next start, which can look.
      if (!(error instanceof RenewalUnknown)) await dropNextToken(dataDir)
      throw error
    }
    return adoptNextToken(dataDir)
  }

  function pause(): Promise<void> {
    return new Promise((resolve) => clock.after(renewalPauseMs, resolve))
  }

  return {
    authenticate: authenticator.authenticate,
    verify: authenticator.verify,

    async start() {
      const isLive = (token: string) =>
        view.operatorToken(hashOperatorToken(keys, token)) !== undefined
      await settleOperatorToken(dataDir, isLive, log)
      await provideMetricsToken(dataDir, keys.metricsToken, random)
      if (view.operatorTokens === 0) {
        log.error(
          { table: 'haus.operator_token' },
          'the house has no operator token that holds; stop Haus and run: npm start -- --renew-operator-token',
        )
      }
    },

    createServiceKey,
    listServiceKeys,
    revokeServiceKey,
    issueToken,
    renewOperatorToken,
    jwks: () => ({ keys: [tokens.jwk] }),
    issuer: issuerOf(house.houseId),
    status: () => ({
      keys: view.size,
      integrityFailures: view.integrityFailures,
      tokensIssued,
      clientsRefused,
      tokensRefused: authenticator.refused,
      tokensCached: authenticator.cached,
      unaudited,
    }),
  }
}

/** The ids of those that are revoked, newest first. */
function revokedIds(keys: Iterable<ServiceKey>): string[] {
  const revoked: { clientId: string; atMs: number }[] = []
  for (const { row } of keys) {
    if (row.revokedAt) revoked.push({ clientId: row.clientId, atMs: row.revokedAt.getTime() })
  }
  return revoked.toSorted((a, b) => b.atMs - a.atMs).map(({ clientId }) => clientId)
}

function ledgerKeyOf(service: string): string {
  return `service-keys:${service}`
}

function targetOf(service: string, clientId: string): string {
  return `services/${service}/keys/${clientId}`
}

function describe({ row, lastUsedAt }: ServiceKey): KeyDescription {
  return {
    clientId: row.clientId,
    service: row.service,
    createdAt: row.createdAt.toISOString(),
    revokedAt: row.revokedAt?.toISOString() ?? null,
    lastUsedAt: lastUsedAt?.toISOString() ?? null,
  }
}

function notRenewed(cause: unknown): HausError {
  return new HausError(
    'database_unreachable',
    `the operator token was not renewed and the old one still holds: the database took no write for ${renewalPatienceMs / 1_000} s; when it does again, start Haus once more with --renew-operator-token`,
    { cause },
  )
}

class RenewalUnknown extends HausError {
  constructor() {
    super(
      'database_unreachable',
      `the database has not said within ${renewalPatienceMs / 1_000} s whether the operator token is renewed: start Haus once more without --renew-operator-token, which looks and leaves the token that holds in operator.token`,
    )
  }
}

function isCode(error: unknown, code: ErrorCode): boolean {
  return error instanceof HausError && error.code === code
}

function tooManyKeys(service: string): HausError {
  return new HausError(
    'limit_reached',
    `The service "${service}" has ${liveKeysMax} live keys, which is the limit: revoke one that is not used.`,
  )
}

function tooMany(reason: string, waitSeconds: number): HausError {
  const retryAfterSeconds = Math.ceil(waitSeconds)
  return new HausError('rate_limited', `${reason} Try again in ${retryAfterSeconds} s.`, {
    retryAfterSeconds,
  })
}
