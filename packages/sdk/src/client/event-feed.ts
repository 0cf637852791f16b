/**
 * The events of the house as one endless sequence over many connections.
 *
 *   connecting ──200──► connected ──end, error, silence──► disconnected ──backoff──► connecting
 *
 * After a break it goes on behind the last place that the house has named (`Last-Event-ID`): that
 * of an event that was handed out, of the beginning, or of a sign of life. So nothing is missed,
 * also before the first event, and nothing comes twice. Where the house no longer keeps that place it says `reset`,
 * and so does this: read the state again.
 */
import type { CloudEvent, EventType, StaticOf } from '@haus/contract'
import { createBackoff } from '../platform/backoff.ts'
import { pause, type Clock } from '../platform/clock.ts'
import { HausApiError, HausUnreachableError, isTransient } from './errors.ts'

export type HausEvent = StaticOf<typeof CloudEvent>

export type FeedMessage =
  | { readonly kind: 'connected' }
  | { readonly kind: 'event'; readonly event: HausEvent }
  /** Events were missed for good; what follows comes after `index`. */
  | { readonly kind: 'reset'; readonly index: number }
  | { readonly kind: 'disconnected'; readonly error: Error | null; readonly retryInMs: number }

export interface EventsOptions {
  /** A type, or a prefix of types that ends in a dot. */
  readonly type?: EventType | (string & {})
  readonly service?: string
  /** Resume behind this one; absent: from now on. */
  readonly lastEventId?: string
  readonly signal?: AbortSignal
}

export interface FeedDependencies {
  /** @throws HausApiError, HausUnreachableError */
  readonly open: (headers: Record<string, string>, signal: AbortSignal) => Promise<Response>
  readonly clock: Clock
  readonly unit: () => number
}

/** The house writes something every 15 s; a connection silent for three times that is dead. */
const silenceMs = 45_000
/** A configuration is 64 KiB at most, everything else is smaller. */
const messageLimitChars = 1024 * 1024
/** A stream that ended sooner was not a success, however it began. */
const steadyMs = 1_000

/** @throws HausApiError when the house refuses and waiting would not change it. */
export async function* followEvents(
  { open, clock, unit }: FeedDependencies,
  options: EventsOptions,
): AsyncGenerator<FeedMessage, void, undefined> {
  const backoff = createBackoff(unit)
  const { signal } = options
  const ended = (): boolean => signal?.aborted ?? false
  let lastId = options.lastEventId
  while (!ended()) {
    const connection = new AbortController()
    const end = (): void => connection.abort()
    signal?.addEventListener('abort', end, { once: true })
    let error: Error | null = null
    const startedMs = clock.monotonicMs()
    try {
      const headers: Record<string, string> =
        lastId === undefined ? {} : { 'last-event-id': lastId }
      const response = await open(headers, connection.signal)
      yield { kind: 'connected' }
      for await (const message of messagesOf(response, clock, connection)) {
        if (message.id !== undefined) lastId = message.id
        const told = toldBy(message)
        if (told) yield told
      }
    } catch (caught) {
      if (ended()) return
      if (!isTransient(caught)) throw caught
      if (caught instanceof Error) error = caught
    } finally {
      signal?.removeEventListener('abort', end)
      connection.abort()
    }
    if (ended()) return
    if (error === null && clock.monotonicMs() - startedMs >= steadyMs) backoff.reset()
    const askedMs = error instanceof HausApiError ? (error.retryAfterMs ?? 0) : 0
    const retryInMs = backoff.next(askedMs)
    yield { kind: 'disconnected', error, retryInMs }
    await pause(clock, retryInMs, signal)
  }
}

interface Message {
  readonly event: string
  readonly id: string | undefined
  readonly data: string
}

function toldBy({ event, data }: Message): FeedMessage | undefined {
  if (data === '') return undefined
  let value: unknown
  try {
    value = JSON.parse(data)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  if (event === 'reset') {
    return 'index' in value && typeof value.index === 'number'
      ? { kind: 'reset', index: value.index }
      : undefined
  }
  return isEvent(value) ? { kind: 'event', event: value } : undefined
}

function isEvent(value: object): value is HausEvent {
  return (
    'type' in value &&
    typeof value.type === 'string' &&
    'subject' in value &&
    typeof value.subject === 'string' &&
    'id' in value &&
    typeof value.id === 'string' &&
    'data' in value &&
    typeof value.data === 'object' &&
    value.data !== null
  )
}

/** Server-sent events, HTML Living Standard section 9.2.6. */
async function* messagesOf(
  response: Response,
  clock: Clock,
  connection: AbortController,
): AsyncGenerator<Message, void, undefined> {
  let silent = false
  const watch = (): (() => void) =>
    clock.after(silenceMs, () => {
      silent = true
      connection.abort()
    })
  let cancelWatch = watch()
  const decoder = new TextDecoder()
  let rest = ''
  let event = ''
  let data = ''
  let id: string | undefined
  try {
    for await (const part of response.body ?? []) {
      cancelWatch()
      cancelWatch = watch()
      rest += decoder.decode(part, { stream: true })
      const lines = rest.split(/\r\n|\n|\r(?!$)/)
      rest = lines.pop() ?? ''
      for (const line of lines) {
        if (line === '') {
          if (data !== '' || id !== undefined) yield { event, id, data: data.slice(0, -1) }
          event = ''
          data = ''
          id = undefined
          continue
        }
        const [, name = '', value = ''] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? []
        if (name === 'data') data += `${value}\n`
        else if (name === 'event') event = value
        else if (name === 'id' && !value.includes('\0')) id = value
      }
      if (rest.length + data.length > messageLimitChars) {
        throw new HausUnreachableError(
          'not_haus',
          'streamEvents',
          `A message of the stream is longer than ${messageLimitChars} characters.`,
        )
      }
    }
  } catch (error) {
    if (error instanceof HausUnreachableError) throw error
    throw silent
      ? new HausUnreachableError('timeout', 'streamEvents', `Nothing came for ${silenceMs} ms.`)
      : new HausUnreachableError('unreachable', 'streamEvents', 'The stream broke.', error)
  } finally {
    cancelWatch()
  }
}
