/**
 * The typed client: every operation of the contract by its name, with a deadline, and refusals as
 * errors with a code. It retries nothing but a token that has just ended: whether a call may be
 * repeated is the caller's to know.
 */
import type { Audience, FieldError, ParamsOf, QueryOf, BodyOf, StaticOf } from '@haus/contract'
import { systemClock, type Clock } from '../platform/clock.ts'
import { Secret } from '../platform/secret.ts'
import { HausApiError, HausUnreachableError } from './errors.ts'
import { followEvents, type EventsOptions, type FeedMessage } from './event-feed.ts'
import { operations, type OperationId, type Operations, type OperationShape } from './operations.ts'
import { clientCredentials, type ClientKey, type TokenSource } from './tokens.ts'
import { exchange, openStream, type Received } from './transport.ts'

type Part<Name extends string, T> = [T] extends [undefined]
  ? unknown
  : Partial<T> extends T
    ? { readonly [K in Name]?: T }
    : { readonly [K in Name]: T }

export interface CallOptions {
  /** More headers, such as `If-None-Match`. */
  readonly headers?: Readonly<Record<string, string>>
  /** Of the whole call; default that of the client. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal | undefined
}

/** What a call has to bring: `params`, `query` and `body` as the contract has them. */
export type RequestOf<Id extends OperationId> = Part<'params', ParamsOf<Operations[Id]>> &
  Part<'query', QueryOf<Operations[Id]>> &
  Part<'body', BodyOf<Operations[Id]>> &
  CallOptions

type AnswerBody<A> = A extends { schema: infer S }
  ? StaticOf<S>
  : A extends { contentType: string }
    ? string
    : undefined

/** By status, so that a 304 has no body. */
export type AnswerOf<Id extends OperationId> = {
  [S in keyof Operations[Id]['answers']]: {
    readonly status: S
    readonly headers: Headers
    readonly body: AnswerBody<Operations[Id]['answers'][S]>
  }
}[keyof Operations[Id]['answers']]

/** All but those whose answer is not the house's own: events are a stream, a proxied answer is a service's. */
export type CallId = Exclude<OperationId, 'streamEvents' | 'proxyRequest'>

type Arguments<R> = Partial<R> extends R ? [request?: R] : [request: R]

/** Operations whose answer is a page of a list. */
export type ListId = {
  [Id in OperationId]: Extract<AnswerOf<Id>, { readonly status: 200 }> extends {
    readonly body: { items: unknown[]; nextCursor: string | null }
  }
    ? Id
    : never
}[OperationId]

export type ItemOf<Id extends ListId> =
  Extract<AnswerOf<Id>, { readonly status: 200 }> extends {
    readonly body: { items: (infer Item)[] }
  }
    ? Item
    : never

export interface HausClient {
  readonly url: string
  /** @throws HausApiError when the house refuses. @throws HausUnreachableError without an answer. */
  call<Id extends CallId>(id: Id, ...request: Arguments<RequestOf<Id>>): Promise<AnswerOf<Id>>
  /** Every item of a list, page by page. */
  list<Id extends ListId>(
    id: Id,
    ...request: Arguments<RequestOf<Id>>
  ): AsyncGenerator<ItemOf<Id>, void, undefined>
  /** What happens, resumed after every break, until `signal` ends or the house refuses. */
  events(options?: EventsOptions): AsyncGenerator<FeedMessage, void, undefined>
  /** For calls that are not of this client, such as through the gateway. */
  token(audience?: Audience): Promise<Secret>
}

export interface ClientOptions {
  /** Such as `http://127.0.0.1:8000`. */
  readonly url: string
  /** Absent: only what is public can be called. */
  readonly tokens?: TokenSource
  /** Of one call, from its first byte to the last of its answer. Default: 10 s. */
  readonly timeoutMs?: number
  readonly clock?: Clock
  /** Numbers from 0 to below 1, for jitter. */
  readonly unit?: () => number
}

/** A write is decided within 250 ms, a registration within 1.5 s; the rest is the network's. */
const defaultTimeoutMs = 10_000

interface LooseRequest extends CallOptions {
  readonly params?: Readonly<Record<string, unknown>>
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>
  readonly body?: unknown
}

export function createClient(options: ClientOptions): HausClient {
  const url = parseUrl(options.url)
  const { tokens, timeoutMs: ownTimeoutMs = defaultTimeoutMs } = options
  const { clock = systemClock, unit = Math.random } = options

  /** Sends with a token; a token that has just ended is replaced, and the call made once more. */
  async function authorized<T extends { readonly status: number }>(
    shape: OperationShape,
    id: string,
    signal: AbortSignal | undefined,
    attempt: (headers: Record<string, string>) => Promise<T>,
  ): Promise<T> {
    if (shape.public) return attempt({})
    if (!tokens) {
      throw new HausApiError(`${id} needs a token, and this client has none.`, {
        code: 'unauthenticated',
        status: 401,
        operation: id,
      })
    }
    const token = await tokens.token('haus', signal)
    const answer = await attempt({ authorization: `Bearer ${token.reveal()}` })
    if (answer.status !== 401) return answer
    tokens.refused(token)
    const next = await tokens.token('haus', signal)
    if (next.reveal() === token.reveal()) return answer
    return attempt({ authorization: `Bearer ${next.reveal()}` })
  }

  async function send(id: OperationId, request: LooseRequest = {}): Promise<Answered> {
    const shape = operations[id]
    const target = `${url}${pathOf(id, shape.path, request.params)}${queryOf(request.query)}`
    const { body, signal, timeoutMs = ownTimeoutMs } = request
    const received = await authorized(shape, id, signal, (authorization) =>
      exchange(clock, {
        operation: id,
        url: target,
        method: shape.method,
        headers: {
          accept: 'application/json, application/problem+json;q=0.9, */*;q=0.1',
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...request.headers,
          ...authorization,
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        timeoutMs,
        signal,
      }),
    )
    if (!shape.statuses.includes(received.status)) throw refusalOf(id, received)
    return { ...received, body: bodyOf(id, received) }
  }

  return {
    url,
    call: send,

    async *list(id: ListId, request: LooseRequest = {}) {
      let cursor: string | null = null
      do {
        const query = { ...request.query, ...(cursor !== null && { cursor }) }
        const { body } = await send(id, { ...request, query })
        yield* body.items
        cursor = body.nextCursor
      } while (cursor !== null)
    },

    events(events = {}) {
      const shape = operations.streamEvents
      const { type, service } = events
      const open = async (headers: Record<string, string>, signal: AbortSignal) => {
        const response = await authorized(shape, 'streamEvents', signal, (authorization) =>
          openStream(clock, {
            operation: 'streamEvents',
            url: `${url}${shape.path}${queryOf({ type, service })}`,
            method: shape.method,
            headers: { accept: 'text/event-stream', ...headers, ...authorization },
            timeoutMs: ownTimeoutMs,
            signal,
          }),
        )
        if (response instanceof Response) return response
        throw refusalOf('streamEvents', response)
      }
      return followEvents({ open, clock, unit }, events)
    },

    token(audience = 'haus') {
      if (!tokens) throw new Error('This client has no source of tokens.')
      return tokens.token(audience)
    },
  }
}

/** The token source of a service that has a key of the house at `url`. */
export function serviceTokens(options: {
  readonly url: string
  readonly key: () => Promise<ClientKey>
  readonly timeoutMs?: number
  readonly clock?: Clock
}): TokenSource {
  const { key, clock = systemClock, ...rest } = options
  const anonymous = createClient({ ...rest, clock })
  return clientCredentials({
    key,
    clock,
    async issue({ clientId, clientSecret }, audience, signal) {
      const { body } = await anonymous.call('issueToken', {
        body: {
          grant_type: 'client_credentials',
          client_id: clientId,
          client_secret: clientSecret.reveal(),
          audience,
        },
        signal,
      })
      return { token: new Secret(body.access_token), expiresInSeconds: body.expires_in }
    },
  })
}

interface Answered extends Received {
  // oxlint-disable-next-line typescript/no-explicit-any -- the contract says what is in it, and the house checks its answers against it
  readonly body: any
  // oxlint-disable-next-line typescript/no-explicit-any -- one of those the operation declares: checked before
  readonly status: any
}

/** @throws TypeError with one sentence */
function parseUrl(text: string): string {
  const url = URL.parse(text)
  const fits =
    url !== null &&
    /^https?:$/.test(url.protocol) &&
    url.username === '' &&
    url.password === '' &&
    url.search === '' &&
    url.hash === ''
  // What is wrong with it could be a password in it: the text is not repeated.
  if (!fits) {
    throw new TypeError(
      'The address of the house must be an http or https URL without user, query and fragment, such as http://127.0.0.1:8000.',
    )
  }
  return url.href.replace(/\/+$/, '')
}

function pathOf(id: string, template: string, params: LooseRequest['params'] = {}): string {
  return template.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const value = params[name]
    // An empty one would ask for another route, and so would a step up.
    if (typeof value !== 'string' || value === '' || value === '.' || value === '..') {
      throw new TypeError(`${id} needs a value for "${name}".`)
    }
    return encodeURIComponent(value)
  })
}

function queryOf(query: LooseRequest['query'] = {}): string {
  const pairs = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) pairs.set(name, String(value))
  }
  return pairs.size === 0 ? '' : `?${pairs.toString()}`
}

function isJson(headers: Headers): boolean {
  return /^application\/([\w.-]+\+)?json\b/.test(headers.get('content-type') ?? '')
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function bodyOf(id: OperationId, { headers, text }: Received): unknown {
  if (text === '') return undefined
  if (!isJson(headers)) {
    const type = headers.get('content-type') ?? 'nothing'
    if (type.startsWith('text/') && textOperations.has(id)) return text
    throw new HausUnreachableError('not_haus', id, `The answer is ${type}, not what a house says.`)
  }
  const body = parseJson(text)
  if (body === undefined) {
    throw new HausUnreachableError('not_haus', id, 'The answer is not valid JSON.')
  }
  return body
}

/** Everything else answers JSON: a page in between, of a proxy or a portal, is not an answer. */
const textOperations: ReadonlySet<OperationId> = new Set(['getDocs', 'getMetrics'])

function refusalOf(id: string, { status, headers, text }: Received): Error {
  const parsed = isJson(headers) ? parseJson(text) : undefined
  const problem = isRecord(parsed) ? parsed : {}
  const { code, error, detail, error_description: description, errors } = problem
  const known = typeof code === 'string' ? code : typeof error === 'string' ? error : undefined
  if (known === undefined) {
    return new HausUnreachableError(
      'not_haus',
      id,
      `The answer has the status ${status} and is not one of a house: something else answers there.`,
    )
  }
  const said = typeof detail === 'string' ? detail : description
  const seconds = Number(headers.get('retry-after') ?? Number.NaN)
  return new HausApiError(typeof said === 'string' ? said : known, {
    code: known,
    status,
    operation: id,
    fields: Array.isArray(errors) ? errors.filter(isFieldError) : [],
    requestId:
      typeof problem['requestId'] === 'string' ? problem['requestId'] : headers.get('x-request-id'),
    retryAfterMs: Number.isFinite(seconds) && seconds >= 0 ? seconds * 1_000 : null,
  })
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isFieldError(value: unknown): value is FieldError {
  return (
    isRecord(value) && typeof value['field'] === 'string' && typeof value['detail'] === 'string'
  )
}
