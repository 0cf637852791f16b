/**
 * The place of this instance in the address book: registration, lease, and the goodbye.
 *
 *   joining ──201──► registered ──404──► joining
 *                        │ 409: a newer start has registered
 *                        ├──────► superseded   (silent; this start may no longer speak)
 *                        └──leave──► left
 *
 * One loop does one thing at a time. A house that is away changes nothing but the pace: the lease
 * outlives its absence, since a house that comes back gives every lease a fresh term.
 */
import type { BodyOf, heartbeat, registerInstance } from '@haus/contract'
import { HausApiError, isTransient, type AnswerOf, type HausClient } from '../client/index.ts'
import { createBackoff } from '../platform/backoff.ts'
import { pause, type Clock } from '../platform/clock.ts'
import type { Log } from '../platform/log.ts'

export type Registration = BodyOf<typeof registerInstance>
export type RegistrationAnswer = Extract<
  AnswerOf<'registerInstance'>,
  { readonly status: 201 }
>['body']
export type HeartbeatAnswer = Extract<AnswerOf<'heartbeat'>, { readonly status: 200 }>['body']
export type Vitals = Omit<BodyOf<typeof heartbeat>, 'incarnation'>

export type MembershipState = 'joining' | 'registered' | 'superseded' | 'left'

export interface InstanceIdentity {
  readonly id: string
  readonly incarnation: number
}

export interface Membership {
  readonly state: MembershipState
  readonly instance: InstanceIdentity | undefined
  /** One try. @throws HausApiError, HausUnreachableError */
  register(timeoutMs?: number): Promise<void>
  /** From now on by itself. */
  start(): void
  beatSoon(): void
  /** Before the end: nothing new is sent here, what is under way goes on. */
  announceDraining(): Promise<void>
  leave(): Promise<void>
}

export interface MembershipOptions {
  readonly client: HausClient
  readonly registration: Registration
  readonly vitals: () => Vitals
  readonly onRegistered: (answer: RegistrationAnswer) => void
  readonly onHeartbeat: (answer: HeartbeatAnswer) => void
  readonly onState: (state: MembershipState) => void
  /** Each exchange with the house, and how it went. */
  readonly onContact: (error: unknown) => void
  readonly clock: Clock
  readonly unit: () => number
  readonly log: Log
}

/** The house cannot be helped by asking more often: a key is revoked, a grant is gone. */
const refusedRetryMs = 30_000
/** A heartbeat that takes longer is worth less than the next one. */
const heartbeatTimeoutMs = 5_000
/** The house has this long to hear a goodbye; then the lease or the probe tells it. */
const goodbyeTimeoutMs = 2_000
/** The house decides a write within 250 ms; the network may hold it back longer. */
const doubtMs = 60_000
/** Not all instances of a service on the same second. */
const jitterShare = 0.15
/** A probe could not get through at registration: the next look comes with a heartbeat. */
const lookAgainMs = 1_000

/** Somebody else changed the service in the same moment: the house asks to register again. */
export function mayPass(error: unknown): boolean {
  return isTransient(error) || (error instanceof HausApiError && error.code === 'version_conflict')
}

export function createMembership(options: MembershipOptions): Membership {
  const { client, registration, vitals, onRegistered, onHeartbeat, onState, onContact } = options
  const { clock, unit, log } = options
  const { name } = registration
  const stopped = new AbortController()
  const backoff = createBackoff(unit)
  let state: MembershipState = 'joining'
  let instance: InstanceIdentity | undefined
  let intervalMs = 10_000
  let leaving = false
  /** A registration without an answer may yet stand: until then a newer start can be this very process. */
  let doubtUntilMs = Number.NEGATIVE_INFINITY
  let wake: AbortController | undefined
  let woken = false
  let complaint: string | undefined
  let running: Promise<void> | undefined

  function become(next: MembershipState): void {
    if (state === next) return
    state = next
    onState(next)
  }

  async function register(timeoutMs?: number): Promise<void> {
    try {
      const { body } = await client.call('registerInstance', {
        body: registration,
        signal: stopped.signal,
        ...(timeoutMs !== undefined && { timeoutMs }),
      })
      onContact(undefined)
      instance = { id: body.instanceId, incarnation: body.incarnation }
      intervalMs = body.heartbeatIntervalSeconds * 1_000
      const { state: reach, address, port, mend } = body.advertise
      log('info', 'Registered.', {
        service: body.service,
        instance: body.instanceId,
        incarnation: body.incarnation,
        address: `${address}:${port}`,
      })
      for (const warning of body.warnings) log('warn', warning)
      if (reach !== 'reachable') {
        log('warn', 'The house does not reach this instance yet.', {
          address: `${address}:${port}`,
          mend: mend ?? null,
        })
        intervalMs = Math.min(intervalMs, lookAgainMs)
      }
      become('registered')
      onRegistered(body)
    } catch (error) {
      if (!stopped.signal.aborted) onContact(error)
      if (!(error instanceof HausApiError) || error.code === 'write_outcome_unknown') {
        doubtUntilMs = clock.monotonicMs() + doubtMs
      }
      throw error
    }
  }

  async function beat({ id, incarnation }: InstanceIdentity): Promise<void> {
    try {
      const { body } = await client.call('heartbeat', {
        params: { name, id },
        body: { ...vitals(), incarnation },
        timeoutMs: heartbeatTimeoutMs,
        signal: stopped.signal,
      })
      onContact(undefined)
      intervalMs = body.heartbeatIntervalSeconds * 1_000
      onHeartbeat(body)
    } catch (error) {
      if (!stopped.signal.aborted) onContact(error)
      throw error
    }
  }

  /** How long to wait before the next step; null: there is none. */
  async function step(): Promise<number | null> {
    try {
      if (instance) await beat(instance)
      else await register()
      backoff.reset()
      complaint = undefined
      return intervalMs * (1 - jitterShare * unit())
    } catch (error) {
      if (stopped.signal.aborted) return null
      if (error instanceof HausApiError && instance) {
        if (['instance_not_found', 'service_not_found'].includes(error.code)) {
          instance = undefined
          if (leaving) return null
          log('warn', 'The house does not know this instance; registering again.', {})
          become('joining')
          return backoff.next()
        }
        if (error.code === 'stale_incarnation') {
          if (clock.monotonicMs() < doubtUntilMs && !leaving) {
            doubtUntilMs = Number.NEGATIVE_INFINITY
            instance = undefined
            become('joining')
            return backoff.next()
          }
          log('warn', 'A newer start of this instance has registered; this one stays silent.', {
            incarnation: instance.incarnation,
          })
          become('superseded')
          return null
        }
      }
      if (mayPass(error)) {
        const askedMs = error instanceof HausApiError ? (error.retryAfterMs ?? 0) : 0
        return backoff.next(askedMs)
      }
      const said = error instanceof Error ? error.message : 'The house refuses.'
      if (said !== complaint) log('warn', said, {})
      complaint = said
      return refusedRetryMs * (1 - jitterShare * unit())
    }
  }

  async function run(): Promise<void> {
    for (;;) {
      if (stopped.signal.aborted) return
      woken = false
      const waitMs = await step()
      if (waitMs === null) return
      if (woken) continue
      wake = new AbortController()
      const end = (): void => wake?.abort()
      stopped.signal.addEventListener('abort', end, { once: true })
      await pause(clock, waitMs, wake.signal)
      stopped.signal.removeEventListener('abort', end)
    }
  }

  return {
    get state() {
      return state
    },

    get instance() {
      return instance
    },

    register,

    start() {
      running ??= (async () => {
        // Registered a moment ago: the first beat is due in one interval.
        if (instance) {
          wake = new AbortController()
          const end = (): void => wake?.abort()
          stopped.signal.addEventListener('abort', end, { once: true })
          await pause(clock, intervalMs * (1 - jitterShare * unit()), wake.signal)
          stopped.signal.removeEventListener('abort', end)
        }
        await run()
      })()
    },

    beatSoon() {
      woken = true
      wake?.abort()
    },

    async announceDraining() {
      leaving = true
      if (!instance || state !== 'registered') return
      await client.call('updateInstance', {
        params: { name, id: instance.id },
        body: { draining: true },
        timeoutMs: goodbyeTimeoutMs,
      })
    },

    async leave() {
      leaving = true
      const known = instance
      const wasRegistered = state === 'registered'
      stopped.abort()
      await running
      become('left')
      if (!known || !wasRegistered) return
      await client.call('deregisterInstance', {
        params: { name, id: known.id },
        query: { incarnation: known.incarnation },
        timeoutMs: goodbyeTimeoutMs,
      })
    },
  }
}
