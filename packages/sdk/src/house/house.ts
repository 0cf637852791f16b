/**
 * A service's life in a house, put together: secret zero, cache, registration, credentials,
 * configuration, discovery, tokens, and the way out.
 *
 * Rules that hold for all of it: what is known is used while the house is away, what the house says
 * counts as soon as it can be heard, and nothing here ends the process unless it was asked to. No
 * value of a credential can be read from the object itself: it holds functions.
 */
import type { Audience } from '@haus/contract'
import {
  createClient,
  HausApiError,
  HausUnreachableError,
  isTransient,
  serviceTokens,
  type HausClient,
  type HausEvent,
} from '../client/index.ts'
import { createBackoff } from '../platform/backoff.ts'
import { pause } from '../platform/clock.ts'
import { nameOf } from '../platform/log.ts'
import { createRefresher } from '../platform/refresher.ts'
import type { Secret } from '../platform/secret.ts'
import type { Picked } from './balancer.ts'
import { createCacheFile, type CacheFile } from './cache-file.ts'
import { usable, type CachedState } from './cached-state.ts'
import { createConfiguration, type ConfigChange } from './configuration.ts'
import { createCredentials, type Credential, type CredentialChange } from './credentials.ts'
import { createDiscovery, type Discovered, type DiscoveryFilter } from './discovery.ts'
import { createEmitter } from './emitter.ts'
import { createHealth, type Health } from './health.ts'
import {
  createMembership,
  mayPass,
  type HeartbeatAnswer,
  type InstanceIdentity,
  type MembershipState,
} from './membership.ts'
import { readSettings, type JoinOptions, type Surroundings } from './settings.ts'
import { createVerifier, issuerOf, type Trust, type VerifiedCaller } from './verifier.ts'

export interface HouseEvents<C> {
  /** A handler that returns has adopted the change; one that throws keeps the version before. */
  readonly credentials: CredentialChange
  readonly config: ConfigChange<C>
  readonly state: { readonly state: MembershipState }
  /** The house has gone away, or is back. */
  readonly reachable: { readonly reachable: boolean }
}

export interface House<C> extends AsyncDisposable {
  readonly state: MembershipState
  /** Undefined while not registered. */
  readonly instance: InstanceIdentity | undefined
  /** Whether the last exchange with the house worked. */
  readonly reachable: boolean
  /** The version in use. @throws when it is not granted */
  credential(name: string): Credential
  readonly credentialNames: readonly string[]
  readonly config: C
  readonly configVersion: number
  on<K extends keyof HouseEvents<C>>(
    name: K,
    handler: (event: HouseEvents<C>[K]) => unknown,
  ): () => void
  /** From the cache at once; from the house when it is not known yet. */
  discover(service: string, filter?: DiscoveryFilter): Promise<Discovered>
  /** An instance for the next call: `using target = await house.pick('billing')`. */
  pick(service: string, filter?: DiscoveryFilter): Promise<Picked>
  /** Never send one of the audience `haus` to another service: whoever has it is this service. */
  tokenFor(audience: Audience): Promise<Secret>
  /** Who sent this token. Needs no house, and so does not see a revocation: at most 15 minutes. */
  verifyToken(token: string, options?: { readonly audience?: Audience }): Promise<VerifiedCaller>
  readonly health: Health
  /** Every operation that this service may call. */
  readonly client: HausClient
  /** Not ready, draining, `drain`, deregistered. Once; later calls wait for the first. */
  leave(): Promise<void>
}

const startTimeoutDefaultMs = 60_000
const drainTimeoutDefaultMs = 20_000
/** With a cache at hand nobody waits long for a house that does not answer. */
const registerWithCacheMs = 5_000
/** While it waits for the house it says so now and then. */
const sayAgainMs = 10_000
/** Callers hear of the draining within milliseconds; until then what they send is still served. */
const drainDelayMs = 250
/** After a refusal that waiting does not mend, such as too many streams of one service. */
const feedRetryMs = 30_000

export async function joinHouse<C>(
  options: JoinOptions<C>,
  surroundings: Surroundings,
  parseConfig: (data: Readonly<Record<string, unknown>>) => C,
): Promise<House<C>> {
  const { clock, unit } = surroundings
  const log = options.log ?? surroundings.log
  const settings = await readSettings(options, surroundings)
  const { url, clientId, key, registration } = settings
  const { name, credentialsNeeded, dependencies = [] } = registration
  const tokens = serviceTokens({ url, key, clock })
  const client = createClient({ url, tokens, clock, unit })
  const health = options.health ?? createHealth({ clock })
  const emitter = createEmitter<HouseEvents<C>>()
  const ending = new AbortController()
  let reachable = false
  let feedLive = false
  let lastEventId: string | undefined

  /** A handler of what has happened already cannot change it. */
  function tell<K extends 'state' | 'reachable'>(event: K, value: HouseEvents<C>[K]): void {
    emitter
      .emit(event, value)
      .catch((error: unknown) => log('warn', 'A handler failed.', { event, reason: nameOf(error) }))
  }

  function noteContact(error: unknown): void {
    // An answer is contact, also when it is no.
    const now = error === undefined || (error instanceof HausApiError && !isTransient(error))
    if (now === reachable) return
    reachable = now
    if (now) log('info', 'The house is there.', {})
    else {
      log('warn', 'The house is away; going on with what is known.', {
        reason: error instanceof Error ? error.message : nameOf(error),
      })
    }
    tell('reachable', { reachable })
  }

  async function readTrust(): Promise<Trust> {
    const [token, { body }] = await Promise.all([client.token('haus'), client.call('getJwks')])
    return { issuer: issuerOf(token.reveal()), keys: body }
  }

  const credentials = createCredentials({
    needed: credentialsNeeded,
    notify: (change) => emitter.emit('credentials', change),
    onAdopted: () => membership.beatSoon(),
    clock,
    log,
  })
  const configuration = createConfiguration<C>({
    parse: parseConfig,
    notify: (change) => emitter.emit('config', change),
    onAccepted: () => {
      cache?.changed()
      membership.beatSoon()
    },
    log,
  })
  const discovery = createDiscovery({
    client,
    followed: new Set([name, ...dependencies]),
    dependencies,
    isFeedLive: () => feedLive,
    isReachable: () => reachable,
    onChanged: () => cache?.changed(),
    clock,
    unit,
  })
  const verifier = createVerifier({
    clock,
    refresh: readTrust,
  })

  const giveUp = (what: string) => (error: unknown) =>
    log('warn', `The house does not give the ${what}.`, {
      reason: error instanceof HausApiError ? error.message : nameOf(error),
    })
  let credentialsEtag: string | undefined
  const credentialsRefresher = createRefresher({
    clock,
    unit,
    mayPass: isTransient,
    onGivenUp: giveUp('credentials'),
    async task(signal) {
      const answer = await client.call('getServiceCredentials', {
        params: { name },
        ...(credentialsEtag !== undefined && { headers: { 'if-none-match': credentialsEtag } }),
        signal,
      })
      if (answer.status === 304) return
      credentialsEtag = answer.headers.get('etag') ?? undefined
      credentials.receive(answer.body.credentials)
      cache?.changed()
    },
  })
  const configRefresher = createRefresher({
    clock,
    unit,
    mayPass: isTransient,
    onGivenUp: giveUp('configuration'),
    async task(signal) {
      const answer = await client.call('getServiceConfig', { params: { name }, signal })
      if (answer.status === 200) configuration.receive(answer.body)
    },
  })
  const trustRefresher = createRefresher({
    clock,
    unit,
    mayPass: isTransient,
    onGivenUp: giveUp('keys'),
    async task() {
      verifier.learn(await readTrust())
      cache?.changed()
    },
  })

  /** From a cache there is nothing yet that could be in use elsewhere: what comes first is adopted. */
  let begun = false
  const membership = createMembership({
    client,
    registration,
    vitals: () => ({
      adopted: credentials.adopted(),
      configVersion: configuration.version,
      ...(options.load && { load: Math.min(1, Math.max(0, options.load())) }),
      ...(options.status && { status: options.status() }),
    }),
    onRegistered(answer) {
      credentials.receive(answer.credentials, !begun)
      configuration.receive(answer.config)
      cache?.changed()
      void trustRefresher.request()
    },
    onHeartbeat: ({ changed }) => follow(changed),
    onState: (state) => tell('state', { state }),
    onContact: noteContact,
    clock,
    unit,
    log,
  })

  function follow(changed: HeartbeatAnswer['changed']): void {
    const names = Object.keys(changed.credentials)
    const mine = credentialsNeeded
      ? names.filter((credential) => credentialsNeeded.includes(credential))
      : names
    const known = credentials.newest()
    const isNews = mine.some(
      (credential) =>
        (changed.credentials[credential] ?? null) !== (known[credential]?.version ?? null),
    )
    if (isNews) void credentialsRefresher.request()
    const { configVersion } = changed
    if (configVersion !== null && !configuration.refused(configVersion)) {
      void configRefresher.request()
    }
  }

  let cache: CacheFile | undefined
  if (settings.cacheFile !== undefined) {
    cache = createCacheFile({
      file: settings.cacheFile,
      identity: { url: client.url, service: name, clientId },
      secret: async () => (await key()).clientSecret,
      snapshot: (): CachedState => ({
        savedAtMs: clock.now().getTime(),
        credentials: credentials.newest(),
        config: configuration.accepted ?? { version: 0, data: {} },
        trust: verifier.trust ?? null,
        services: discovery.known(),
      }),
      clock,
      log,
    })
  }

  function restore(state: CachedState): boolean {
    if (!configuration.receive(state.config)) return false
    credentials.receive(state.credentials, true)
    if (state.trust) verifier.learn(state.trust)
    discovery.restore(state.services)
    return true
  }

  async function readCache(): Promise<CachedState | undefined> {
    const value = await cache?.load()
    if (value === undefined) return undefined
    const read = usable(value, credentialsNeeded, clock.now().getTime())
    if ('state' in read) return read.state
    log('warn', 'The cache is ignored.', { file: settings.cacheFile ?? '', reason: read.why })
    return undefined
  }

  async function begin(): Promise<void> {
    const startedMs = clock.monotonicMs()
    const waitMs = options.startTimeoutMs ?? startTimeoutDefaultMs
    const cached = await readCache()
    const backoff = createBackoff(unit)
    let saidAtMs = Number.NEGATIVE_INFINITY
    for (;;) {
      try {
        await membership.register(cached && registerWithCacheMs)
        // The program refuses the newest configuration: it goes on with the one it had.
        if (cached && !configuration.accepted) configuration.receive(cached.config)
        return
      } catch (error) {
        if (!mayPass(error) || !(error instanceof Error)) throw error
        if (cached && restore(cached)) {
          log('warn', 'The house is away: starting with what was known last.', {
            savedAt: new Date(cached.savedAtMs).toISOString(),
            reason: error.message,
          })
          return
        }
        const waitedMs = clock.monotonicMs() - startedMs
        if (waitedMs >= waitMs) {
          throw new HausUnreachableError(
            'timeout',
            'registerInstance',
            `The house could not be joined within ${Math.round(waitMs / 1_000)} s, and there is no cache to start from: ${error.message}`,
            error,
          )
        }
        if (clock.monotonicMs() - saidAtMs >= sayAgainMs) {
          saidAtMs = clock.monotonicMs()
          log(
            'warn',
            'Waiting for the house: without it and without a cache there is nothing to start with.',
            {
              url: client.url,
              reason: error.message,
            },
          )
        }
        const askedMs = error instanceof HausApiError ? (error.retryAfterMs ?? 0) : 0
        await pause(clock, Math.min(backoff.next(askedMs), waitMs - waitedMs))
      }
    }
  }

  function heard(event: HausEvent): void {
    lastEventId = event.id
    if (event.type.startsWith('haus.instance.') || event.type.startsWith('haus.service.')) {
      const [, service] = /^services\/(.+)$/.exec(event.subject) ?? []
      if (service !== undefined) discovery.changed(service)
    } else if (event.type.startsWith('haus.credential.')) {
      const credential = event.data['name']
      const isNeeded =
        !credentialsNeeded ||
        (typeof credential === 'string' && credentialsNeeded.includes(credential))
      if (isNeeded) void credentialsRefresher.request()
    }
    if (event.type === 'haus.config.changed') void configRefresher.request()
  }

  /** Whatever happened meanwhile: the answer to a heartbeat says what is new of this service. */
  function catchUp(): void {
    discovery.allChanged()
    if (membership.state !== 'superseded') membership.beatSoon()
    else {
      void credentialsRefresher.request()
      void configRefresher.request()
    }
  }

  async function feed(): Promise<void> {
    const { signal } = ending
    while (!signal.aborted) {
      try {
        const resume = lastEventId === undefined ? {} : { lastEventId }
        for await (const message of client.events({ signal, ...resume })) {
          feedLive = message.kind !== 'disconnected'
          if (message.kind === 'connected') {
            noteContact(undefined)
            catchUp()
          } else if (message.kind === 'event') heard(message.event)
          else if (message.kind === 'disconnected') {
            if (message.error instanceof HausUnreachableError) noteContact(message.error)
          } else {
            lastEventId = String(message.index)
            catchUp()
          }
        }
      } catch (error) {
        feedLive = false
        log('warn', 'The house refuses its events; heartbeats go on telling what is new.', {
          reason: error instanceof HausApiError ? error.message : nameOf(error),
        })
        await pause(clock, feedRetryMs, signal)
      }
    }
  }

  let leaving: Promise<void> | undefined
  async function goodbye(): Promise<void> {
    health.drain()
    const away = (what: string) => (error: unknown) =>
      log('info', `The house was not told ${what}.`, { reason: nameOf(error) })
    await membership.announceDraining().catch(away('of the draining'))
    if (options.drain) {
      await pause(clock, drainDelayMs)
      await finish(options.drain)
    }
    ending.abort()
    for (const part of [credentialsRefresher, configRefresher, trustRefresher, discovery])
      part.stop()
    credentials.stop()
    await membership.leave().catch(away('of the end; it will notice'))
    await feeding
    await cache?.flush()
    stopSignals?.()
    log('info', 'Left the house.', {})
  }

  async function finish(drain: () => unknown): Promise<void> {
    const limitMs = options.drainTimeoutMs ?? drainTimeoutDefaultMs
    const waited = new AbortController()
    const done = (async () => drain())().then(
      () => true,
      (error: unknown) => {
        log('warn', 'Draining failed.', { reason: nameOf(error) })
        return true
      },
    )
    const late = pause(clock, limitMs, waited.signal).then(() => false)
    if (!(await Promise.race([done, late]))) {
      log('warn', 'Not everything was finished in time.', { limitMs })
    }
    waited.abort()
  }

  const leave = (): Promise<void> => (leaving ??= goodbye())

  try {
    await begin()
    // Version 0 with no data is what a service without a configuration gets; it may be refused too.
    void configuration.current
  } catch (error) {
    ending.abort()
    for (const part of [credentialsRefresher, configRefresher, trustRefresher, discovery])
      part.stop()
    credentials.stop()
    await membership.leave().catch(() => {})
    throw error
  }
  begun = true
  membership.start()
  await (reachable ? discovery.prepare() : undefined)
  const feeding = feed()
  cache?.changed()
  const stopSignals =
    options.signals === false
      ? undefined
      : surroundings.onSignal((signal) => {
          if (leaving) return
          log('info', 'Draining.', { signal })
          void leave().finally(() => {
            if (options.exit) surroundings.exit(0)
          })
        })

  return {
    get state() {
      return membership.state
    },
    get instance() {
      return membership.instance
    },
    get reachable() {
      return reachable
    },
    credential(wanted) {
      const found = credentials.get(wanted)
      if (found) return found
      throw new Error(
        `The credential "${wanted}" is not granted to "${name}". Granted: ${credentials.names.join(', ') || 'none'}.`,
      )
    },
    get credentialNames() {
      return credentials.names
    },
    get config() {
      return configuration.current
    },
    get configVersion() {
      return configuration.version
    },
    on: emitter.on,
    discover: discovery.discover,
    pick: discovery.pick,
    tokenFor: (audience) => tokens.token(audience),
    verifyToken: (token, { audience = 'haus-gateway' } = {}) => verifier.verify(token, audience),
    health,
    client,
    leave,
    [Symbol.asyncDispose]: leave,
  }
}
