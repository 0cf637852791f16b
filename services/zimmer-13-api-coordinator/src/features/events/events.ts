/**
 * Who may follow what. Operators see every event; a service sees those about itself, those that
 * name it (a credential granted to it), and the instances of what it depends on.
 */
import { HausError } from '@haus/contract'
import type { Clock } from '../../platform/clock/clock.ts'
import { refuseRevoked, type Caller, type RequestContext } from '../../platform/http/caller.ts'
import type { Ledger, LedgerEvent } from '../../platform/ledger/index.ts'
import type { EventBus } from './bus.ts'
import { EventStream } from './event-stream.ts'
import { ReadTurns } from './read-turns.ts'

/** Each holds a socket and up to 2,048 events; 1,000 are about a service with five instances, 200 times. */
const streamsMax = 1_000
const streamsPerCallerMax = 100
/** One to be answered while the next is on its way; more would only make writes wait. */
const readsAtOnceMax = 2

export interface EventFilter {
  readonly type?: string | undefined
  readonly service?: string | undefined
}

export interface Events {
  /** @throws HausError overloaded, invalid_request, token_revoked. */
  open(context: RequestContext, filter: EventFilter, lastEventId: string | undefined): EventStream
  readonly streams: number
  /** Ends every stream, so that a closing house does not wait for its readers. */
  stop(): void
}

export interface EventsOptions {
  readonly bus: EventBus
  readonly ledger: Ledger
  readonly clock: Clock
  readonly houseId: string
  readonly canonicalService: (name: string) => string
  readonly dependenciesOf: (service: string) => readonly string[]
}

export function createEvents(options: EventsOptions): Events {
  const { bus, ledger, clock, houseId, canonicalService, dependenciesOf } = options
  const open = new Map<EventStream, string>()
  const turns = new ReadTurns(readsAtOnceMax)

  function maySee(caller: Caller, event: LedgerEvent): boolean {
    if (caller.kind === 'operator') return true
    const { service } = caller
    if (service === null) return false
    if (event.service === service) return true
    const named = event.data['services']
    if (Array.isArray(named) && named.includes(service)) return true
    return (
      event.type.startsWith('haus.instance.') &&
      event.service !== null &&
      dependenciesOf(service).includes(event.service)
    )
  }

  return {
    get streams() {
      return open.size
    },

    open(context, filter, lastEventId) {
      const { caller } = context
      // Of a signal that has gone off already nothing more is heard.
      refuseRevoked(caller)
      const afterIndex = parseIndex(lastEventId)
      let ofCaller = 0
      for (const actor of open.values()) if (actor === caller.actor) ofCaller++
      if (open.size >= streamsMax || ofCaller >= streamsPerCallerMax) {
        throw new HausError(
          'overloaded',
          `There are ${open.size} event streams, ${ofCaller} of them yours; the limits are ${streamsMax} and ${streamsPerCallerMax}. Close one first.`,
          { retryAfterSeconds: 10 },
        )
      }
      const service = filter.service === undefined ? undefined : canonicalService(filter.service)
      const { type } = filter
      const stream = new EventStream({
        bus,
        ledger,
        clock,
        houseId,
        afterIndex,
        turns,
        wants: (event) =>
          (type === undefined ||
            (type.endsWith('.') ? event.type.startsWith(type) : event.type === type)) &&
          (service === undefined || event.service === service) &&
          maySee(caller, event),
      })
      open.set(stream, caller.actor)
      const finish = (): void => stream.finish()
      caller.revoked?.addEventListener('abort', finish, { once: true })
      const cancelExpiry =
        caller.expiresAtMonotonicMs === null
          ? undefined
          : clock.after(Math.max(0, caller.expiresAtMonotonicMs - clock.monotonicMs()), finish)
      stream.once('close', () => {
        open.delete(stream)
        cancelExpiry?.()
        caller.revoked?.removeEventListener('abort', finish)
      })
      return stream
    },

    stop() {
      for (const stream of open.keys()) stream.finish()
    },
  }
}

function parseIndex(lastEventId: string | undefined): number | null {
  if (lastEventId === undefined || lastEventId === '') return null
  const index = Number(lastEventId)
  if (!/^\d{1,16}$/.test(lastEventId) || !Number.isSafeInteger(index)) {
    throw new HausError(
      'invalid_request',
      'Last-Event-ID is not the id of an event of this house: send the last one that you saw, or none.',
      { fields: [{ field: 'header.last-event-id', detail: 'must be a whole number' }] },
    )
  }
  return index
}
