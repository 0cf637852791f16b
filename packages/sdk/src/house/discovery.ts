/**
 * Where other services are, answered from memory.
 *
 * What the service depends on is kept fresh by the event feed; everything else is asked for again
 * when somebody uses it. While the house is away what was known last goes on being the answer,
 * however old: a list that is slightly wrong beats none, and the balancer notices who is gone.
 */
import type { discover as discoverOperation, QueryOf } from '@haus/contract'
import { HausApiError, isTransient, type AnswerOf, type HausClient } from '../client/index.ts'
import { pause, type Clock } from '../platform/clock.ts'
import { createRefresher, type Refresher } from '../platform/refresher.ts'
import { createBalancer, type Picked } from './balancer.ts'

export type DiscoveryAnswer = Extract<AnswerOf<'discover'>, { readonly status: 200 }>['body']
export type DiscoveryFilter = Omit<QueryOf<typeof discoverOperation>, 'service'>

export interface Discovered extends DiscoveryAnswer {
  /** Since the house last said so. */
  readonly ageMs: number
}

/** Known, and nobody there who can serve. */
export class NobodyServesError extends Error {
  override readonly name = 'NobodyServesError'
  readonly service: string

  constructor(service: string) {
    super(`No instance of "${service}" can serve now.`)
    this.service = service
  }
}

/** For the cache. */
export interface KnownService {
  readonly query: QueryOf<typeof discoverOperation>
  readonly answer: DiscoveryAnswer
}

export interface Discovery {
  discover(service: string, filter?: DiscoveryFilter): Promise<Discovered>
  pick(service: string, filter?: DiscoveryFilter): Promise<Picked>
  /** An event says that something about this service is different. */
  changed(service: string): void
  /** Whatever happened was missed. */
  allChanged(): void
  /** Reads what this service depends on. */
  prepare(): Promise<void>
  restore(known: readonly KnownService[]): void
  known(): KnownService[]
  stop(): void
}

export interface DiscoveryOptions {
  readonly client: HausClient
  /** What the events of the feed are about. */
  readonly followed: ReadonlySet<string>
  /** Known before anybody asks, so that it is in the cache. */
  readonly dependencies: readonly string[]
  readonly isFeedLive: () => boolean
  readonly isReachable: () => boolean
  readonly onChanged: () => void
  readonly clock: Clock
  readonly unit: () => number
}

/** A house has up to 200 services; a program that asks for more asks with made-up filters. */
const entriesMax = 512
/** What nobody follows may be this old without being asked for again. */
const unfollowedAgeMs = 2_000
/** The feed tells of every change; this is for the change that it does not tell. */
const followedAgeMs = 60_000
/** Beyond this an old answer waits shortly for the new one: instances have come and gone. */
const oldAgeMs = 30_000
const waitForNewMs = 500
const timeoutMs = 5_000

interface Entry {
  readonly query: QueryOf<typeof discoverOperation>
  readonly refresher: Refresher
  answer: DiscoveryAnswer | undefined
  atMs: number
  /** Why there is no answer. */
  error: unknown
}

export function createDiscovery(options: DiscoveryOptions): Discovery {
  const { client, followed, dependencies, isFeedLive, isReachable, onChanged, clock, unit } =
    options
  const entries = new Map<string, Entry>()
  const balancer = createBalancer(clock, unit)

  function entryOf(service: string, { tag, zone, version }: DiscoveryFilter = {}): Entry {
    const key = JSON.stringify([service, tag, zone, version])
    const known = entries.get(key)
    if (known) return known
    const query = {
      service,
      ...(tag !== undefined && { tag }),
      ...(zone !== undefined && { zone }),
      ...(version !== undefined && { version }),
    }
    const entry: Entry = {
      query,
      answer: undefined,
      atMs: Number.NEGATIVE_INFINITY,
      error: undefined,
      refresher: createRefresher({
        clock,
        unit,
        // Somebody waits for the first answer, and hears at once that there is none.
        mayPass: (error) => isTransient(error) && entry.answer !== undefined,
        task: (signal) => read(entry, signal),
        onGivenUp: (error) => {
          entry.error = error
          // The house knows no such service, and says so itself.
          if (error instanceof HausApiError && error.code === 'service_not_found') drop(key)
        },
      }),
    }
    if (entries.size >= entriesMax) evict()
    entries.set(key, entry)
    return entry
  }

  /** The one that has not been read for longest, and is not followed. */
  function evict(): void {
    let oldest: [string, Entry] | undefined
    for (const [key, entry] of entries) {
      if (followed.has(entry.query.service)) continue
      if (!oldest || entry.atMs < oldest[1].atMs) oldest = [key, entry]
    }
    if (oldest) drop(oldest[0])
  }

  function drop(key: string): void {
    entries.get(key)?.refresher.stop()
    entries.delete(key)
  }

  async function read(entry: Entry, signal: AbortSignal): Promise<void> {
    const startedMs = clock.monotonicMs()
    const { body } = await client.call('discover', { query: entry.query, timeoutMs, signal })
    const before = entry.answer
    entry.answer = body
    entry.atMs = startedMs
    entry.error = undefined
    if (before?.index === body.index && before.instances.length === body.instances.length) return
    const ids = new Set<string>()
    for (const { answer } of entries.values())
      for (const { id } of answer?.instances ?? []) ids.add(id)
    balancer.keepOnly(ids)
    onChanged()
  }

  async function get(service: string, filter?: DiscoveryFilter): Promise<Entry & Known> {
    const entry = entryOf(service, filter)
    if (!entry.answer) {
      await entry.refresher.join()
      if (isKnown(entry)) return entry
      throw entry.error instanceof Error ? entry.error : new NobodyServesError(service)
    }
    const ageMs = clock.monotonicMs() - entry.atMs
    const isFollowed = followed.has(service) && isFeedLive()
    if (ageMs > (isFollowed ? followedAgeMs : unfollowedAgeMs)) {
      const refreshed = entry.refresher.join()
      if (!isFollowed && ageMs > oldAgeMs && isReachable()) {
        const waited = new AbortController()
        await Promise.race([refreshed, pause(clock, waitForNewMs, waited.signal)])
        waited.abort()
      }
    }
    if (!isKnown(entry)) throw new NobodyServesError(service)
    return entry
  }

  return {
    async discover(service, filter) {
      const { answer, atMs } = await get(service, filter)
      return { ...answer, ageMs: Math.max(0, Math.round(clock.monotonicMs() - atMs)) }
    },

    async pick(service, filter) {
      const { answer } = await get(service, filter)
      const picked = balancer.pick(answer.instances)
      if (!picked) throw new NobodyServesError(service)
      return picked
    },

    changed(service) {
      if (dependencies.includes(service)) entryOf(service)
      for (const { query, answer, refresher } of entries.values()) {
        if (query.service === service || answer?.service === service) void refresher.request()
      }
    },

    allChanged() {
      for (const { refresher } of entries.values()) void refresher.request()
    },

    async prepare() {
      await Promise.all(dependencies.map((service) => entryOf(service).refresher.join()))
    },

    restore(known) {
      for (const { query, answer } of known) {
        const { service, ...filter } = query
        const entry = entryOf(service, filter)
        if (entry.answer) continue
        entry.answer = answer
        // As old as can be: asked for again at the first use.
        entry.atMs = clock.monotonicMs() - oldAgeMs
      }
    },

    known: () =>
      [...entries.values()].flatMap(({ query, answer }) => (answer ? [{ query, answer }] : [])),

    stop() {
      for (const { refresher } of entries.values()) refresher.stop()
    },
  }
}

interface Known {
  readonly answer: DiscoveryAnswer
}

function isKnown(entry: Entry): entry is Entry & Known {
  return entry.answer !== undefined
}
