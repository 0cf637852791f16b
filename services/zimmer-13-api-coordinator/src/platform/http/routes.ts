/**
 * Operations of the contract become routes. What every operation needs is done here, in one order:
 * authenticate, permit, read the body, permit by the body, validate, run, answer through the
 * declared schema. A handler starts with a caller who may and values that fit.
 *
 * Nothing here awaits what need not be awaited: a read with a known token that a handler answers
 * at once runs through without a single promise.
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import { catalogue, HausError, permissions, serviceNamePattern } from '@haus/contract'
import type { BodyOf, ErrorCode, Operation, ParamsOf, QueryOf } from '@haus/contract'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { TSchema } from 'typebox'
import { anonymous, refuseRevoked } from './caller.ts'
import type { Caller, RequestContext } from './caller.ts'
import { announcesBody, pathOf, sourceOf } from './exchange.ts'
import type { Age, Exchange, RefusalShape } from './exchange.ts'
import { notOwn } from './not-own.ts'
import { createCoercion, parseParameters } from './query.ts'
import {
  bodyError,
  checkBodyHead,
  formType,
  jsonType,
  parseBody,
  unwantedBody,
} from './request-body.ts'
import type { HttpServer } from './server.ts'
import { createValidation } from './validation.ts'
import type { Check } from './validation.ts'

/** What is known of a request before its caller is. */
export interface RequestInfo {
  readonly operation: string
  readonly requestId: string
  readonly source: string
}

export interface RoutesOptions {
  /**
   * The caller behind an `Authorization` header.
   * @throws HausError unauthenticated, token_*, rate_limited
   */
  authenticate(authorization: string | undefined, info: RequestInfo): Caller | Promise<Caller>
  /** How old the memory is that reads are answered from; asked at each of them, so it must be cheap. */
  freshness(): Age
  /** The name behind an alias; any other text as it is. */
  canonicalService(name: string): string
  /** Resolves when the refusal is durable; the 403 waits for it. */
  recordDenial(context: RequestContext, target: string, code: ErrorCode): Promise<void>
}

/** One of `body` (through the declared schema), `raw` (bytes as they are) and `stream`, or none. */
export interface Answer {
  readonly status: number
  readonly body?: unknown
  readonly raw?: Buffer | string
  readonly stream?: Readable
  /** Of a stream; default: what the operation declares. */
  readonly contentType?: string
  readonly headers?: Readonly<Record<string, string>>
}

export interface Call<O extends Operation> {
  readonly params: ParamsOf<O>
  readonly query: QueryOf<O>
  readonly body: BodyOf<O>
  readonly headers: IncomingHttpHeaders
  readonly context: RequestContext
}

export type Handler<O extends Operation> = (call: Call<O>) => Answer | Promise<Answer>

export interface Routes {
  implement<O extends Operation>(operation: O, handler: Handler<O>): void
  /** @throws when an operation of the catalogue has no handler, except those that `missing` names. */
  finish(options?: { readonly missing?: readonly string[] }): void
}

export function createRoutes(server: HttpServer, options: RoutesOptions): Routes {
  const { app, exchanges } = server
  const compile = createValidation()
  const implemented = new Map<string, { operation: Operation; path: RegExp }>()
  /** Calls whose body is being read, by their request. */
  const waiting = new WeakMap<FastifyRequest, Pending>()

  app.removeAllContentTypeParsers()
  // Bytes only: they are parsed after the body has been read whole, with the operation's own words.
  const keepBytes = (_request: unknown, body: Buffer, done: (e: null, body: Buffer) => void) =>
    done(null, body)
  app.addContentTypeParser(jsonType, { parseAs: 'buffer' }, keepBytes)
  app.addContentTypeParser(formType, { parseAs: 'buffer' }, keepBytes)

  // Before Fastify would read a body for nobody: a client that waits for `100 Continue` would wait
  // for a minute, and a large one would be told about its size.
  app.addHook('onRequest', (request, reply, next) => {
    if (request.is404) refuseUnrouted(request.raw, reply.raw)
    else next()
  })

  // What Fastify itself refuses is about reading a body; the rest cannot be anticipated.
  app.setErrorHandler((error: unknown, request, reply) => {
    const pending = waiting.get(request)
    const exchange = pending?.exchange ?? exchanges.begin(request.raw, reply.raw, 'none')
    exchanges.refuse(exchange, bodyError(error, pending?.kind.bodyLimitBytes), pending?.kind.shape)
  })

  return {
    implement(operation, handler) {
      if (implemented.has(operation.id)) {
        throw new Error(`operation ${operation.id} is implemented twice`)
      }
      if (!catalogue.includes(operation)) {
        throw new Error(`operation ${operation.id} is not in the catalogue`)
      }
      implemented.set(operation.id, { operation, path: pathPattern(operation.path) })
      addRoute(operation, handler)
    },

    finish({ missing = [] } = {}) {
      const absent = catalogue
        .map((operation) => operation.id)
        .filter((id) => !implemented.has(id) && !missing.includes(id))
      if (absent.length > 0) throw new Error(`operations without a handler: ${absent.join(', ')}`)
    },
  }

  function refuseUnrouted(request: IncomingMessage, response: ServerResponse): void {
    const exchange = exchanges.begin(request, response, 'none')
    const path = pathOf(request)
    const methods = [...implemented.values()]
      .filter((route) => route.path.test(path))
      .flatMap(({ operation }) => (operation.method === 'GET' ? ['GET', 'HEAD'] : operation.method))
    if (methods.length === 0) {
      exchanges.refuse(
        exchange,
        new HausError('route_not_found', 'There is no such route; /docs lists those that are.', {
          fields: [{ field: 'path', detail: 'must be one of those that /docs lists' }],
        }),
      )
      return
    }
    const allow = methods.toSorted().join(', ')
    response.setHeader('allow', allow)
    exchanges.refuse(
      exchange,
      new HausError('method_not_allowed', `This route takes ${allow} only.`),
    )
  }

  function addRoute<O extends Operation>(operation: O, handler: Handler<O>): void {
    const policy = policyOf(operation)
    const read = createReader(operation, compile)
    const shape: RefusalShape = operation.errorShape ?? 'problem'
    const bodyLimitBytes = operation.bodyLimitBytes ?? app.initialConfig.bodyLimit ?? 0
    const kind = { shape, bodyLimitBytes }
    const fromView = viewStatuses(operation)
    // Another program's answer may have any status.
    const passedThrough = operation.passesThrough ? operation.answers[200] : undefined
    const serializers = new Map<number, (data: unknown) => string>()

    function begin(
      request: IncomingMessage,
      response: ServerResponse,
      params: unknown,
      reply: FastifyReply | null,
    ): Pending {
      const exchange = exchanges.begin(request, response, operation.id)
      return { kind, exchange, params, reply, context: null, readBody: null }
    }

    /** Who asks, and whether they may, as far as the head of the request can tell; then on. */
    function admit(pending: Pending): void {
      const { request, requestId } = pending.exchange
      const source = sourceOf(request)
      if (policy.isPublic) {
        permit(pending, anonymous, source)
        return
      }
      const info = { operation: operation.id, requestId, source }
      const caller = options.authenticate(request.headers.authorization, info)
      if (caller instanceof Promise) {
        caller
          .then((known) => permit(pending, known, source))
          .catch((error: unknown) => fail(pending, error))
      } else permit(pending, caller, source)
    }

    function permit(pending: Pending, caller: Caller, source: string): void {
      const { requestId } = pending.exchange
      const context = { caller, operation: operation.id, requestId, source }
      pending.context = context
      if (!policy.admits(caller)) denyAll(pending, context)
      else {
        const other = policy.ownParam ? otherService(caller, pending.params) : null
        if (other !== null) denyOther(pending, context, 'path.name', other)
        else if (pending.readBody === null) run(pending, context, undefined)
        else readBody(pending, pending.readBody)
      }
    }

    /** The name by which a service means another than itself; null: it does not. */
    function otherService(caller: Caller, named: unknown): string | null {
      if (caller.kind !== 'service') return null
      const name = fieldOf(named, 'name')
      // What is not a text is for the schema to refuse; no handler sees it.
      if (typeof name !== 'string') return null
      return options.canonicalService(name) === caller.service ? null : name
    }

    function denyOther(
      pending: Pending,
      context: RequestContext,
      field: 'path.name' | '/name',
      other: string,
    ): void {
      // Whom the caller posed as is in the path, or else has to be said.
      const target =
        field === '/name' ? `services/${options.canonicalService(other)}` : targetOf(pending)
      const error = notOwn(field, other, context.caller.service ?? '')
      refuseOnRecord(pending, context, target, error)
    }

    function denyAll(pending: Pending, context: RequestContext): void {
      const detail = `is that of ${context.caller.actor}, and ${operation.id} needs ${operation.permission}: use a token that carries it`
      const error = new HausError('forbidden', `header.authorization ${detail}.`, {
        fields: [{ field: 'header.authorization', detail }],
      })
      refuseOnRecord(pending, context, targetOf(pending), error)
    }

    function refuseOnRecord(
      pending: Pending,
      context: RequestContext,
      target: string,
      error: HausError,
    ): void {
      options.recordDenial(context, target, error.code).then(
        () => fail(pending, error),
        (failure: unknown) => fail(pending, unrecorded(failure)),
      )
    }

    function readBody({ exchange }: Pending, goOn: () => void): void {
      const { request, response } = exchange
      checkBodyHead(request, operation, bodyLimitBytes)
      if (request.headers.expect !== undefined) response.writeContinue()
      goOn()
    }

    function run(pending: Pending, context: RequestContext, body: unknown): void {
      const { request } = pending.exchange
      const { headers } = request
      const values = read(pending.params, request.url ?? '', body)
      const { params, query } = values
      const answer = handler({ params, query, body: values.body, headers, context })
      if (answer instanceof Promise) {
        answer
          .then((known) => {
            // What was revoked while the answer was made must not carry a secret away.
            refuseRevoked(context.caller)
            send(pending, known)
          })
          .catch((error: unknown) => fail(pending, error))
      } else send(pending, answer)
    }

    function send(pending: Pending, answer: Answer): void {
      const { exchange } = pending
      const { status, raw, stream, headers } = answer
      const declared = operation.answers[status] ?? passedThrough
      if (declared === undefined) {
        stream?.destroy()
        throw new Error(`${operation.id} does not declare the answer ${status}`)
      }
      const age = fromView.has(status) ? options.freshness() : undefined
      if (raw !== undefined) {
        const contentType = declared.contentType ?? jsonType
        exchanges.answer(exchange, { status, contentType, body: raw, headers, age })
      } else if (stream !== undefined) {
        const contentType = answer.contentType ?? declared.contentType ?? 'application/octet-stream'
        exchanges.stream(exchange, { status, contentType, stream, headers })
      } else if (answer.body === undefined) {
        exchanges.answer(exchange, { status, contentType: null, body: null, headers, age })
      } else if (declared.schema === undefined) {
        throw new Error(`${operation.id} declares no schema for its answer ${status}`)
      } else {
        // Through the declared schema: a property that is not declared does not get out.
        const body: unknown =
          pending.reply === null
            ? serializer(status, declared.schema)(answer.body)
            : pending.reply.code(status).serialize(answer.body)
        if (typeof body !== 'string') throw new Error(`${operation.id} was not serialised as text`)
        exchanges.answer(exchange, { status, contentType: jsonType, body, headers, age })
      }
    }

    /** Where no Fastify reply is at hand: made by the compiler that Fastify uses itself. */
    function serializer(status: number, schema: TSchema): (data: unknown) => string {
      const known = serializers.get(status)
      if (known !== undefined) return known
      if (app.serializerCompiler === undefined) throw new Error('the server is not ready')
      const { method, path: url } = operation
      const made = app.serializerCompiler({ schema, method, url, httpStatus: String(status) })
      serializers.set(status, made)
      return made
    }

    function fail(pending: Pending, error: unknown): void {
      exchanges.refuse(pending.exchange, error, shape)
    }

    const schema = { response: responseSchemas(operation) }
    const url = operation.path.replaceAll(/\{(\w+)\}/g, ':$1')

    if (operation.method === 'GET' || operation.method === 'DELETE') {
      const handle = (pending: Pending): void => {
        try {
          if (announcesBody(pending.exchange.request)) throw unwantedBody(operation)
          admit(pending)
        } catch (error) {
          fail(pending, error)
        }
      }
      const streams = Object.values(operation.answers).some(
        (answer) => answer.contentType === 'text/event-stream',
      )
      app.route({
        method: operation.method === 'GET' && !streams ? ['GET', 'HEAD'] : operation.method,
        url,
        schema,
        handler: (request, reply) => handle(begin(request.raw, reply.raw, request.params, reply)),
      })
      if (operation.method === 'GET' && operation.params === undefined) {
        server.handleDirectly(operation.path, (request, response) =>
          handle(begin(request, response, undefined, null)),
        )
      }
      return
    }

    app.route({
      method: operation.method,
      url,
      schema,
      bodyLimit: bodyLimitBytes,
      onRequest(request, reply, goOn) {
        const pending = begin(request.raw, reply.raw, request.params, reply)
        pending.readBody = goOn
        waiting.set(request, pending)
        try {
          admit(pending)
        } catch (error) {
          fail(pending, error)
        }
      },
      handler(request) {
        const pending = waiting.get(request)
        if (pending === undefined || pending.context === null) {
          throw new Error(`${operation.id} ran without a known caller`)
        }
        const { context } = pending
        try {
          // The body may have taken a minute to arrive.
          refuseRevoked(context.caller)
          const body = parseBody(request, operation)
          const other = policy.ownBody ? otherService(context.caller, body) : null
          // A name that no service can have is for the schema to refuse, and not for the audit.
          if (other !== null && serviceName.test(other)) {
            denyOther(pending, context, '/name', other)
          } else run(pending, context, body)
        } catch (error) {
          fail(pending, error)
        }
      },
    })
  }
}

/** A request on its way through the steps above. */
interface Pending {
  readonly kind: { readonly shape: RefusalShape; readonly bodyLimitBytes: number }
  readonly exchange: Exchange
  readonly params: unknown
  /** Null when the request came past Fastify. */
  readonly reply: FastifyReply | null
  /** Null until the caller is known. */
  context: RequestContext | null
  /** Lets Fastify read the body; null when the operation takes none. */
  readBody: (() => void) | null
}

interface Policy {
  readonly isPublic: boolean
  /** Where the service that must be the caller's own is named. */
  readonly ownParam: boolean
  readonly ownBody: boolean
  /** False: this caller may not, whatever it names. */
  admits(caller: Caller): boolean
}

function policyOf(operation: Operation): Policy {
  const { permission } = operation
  const { service } = permissions[permission]
  const ownParam = service === 'own' && hasProperty(operation.params, 'name')
  const ownBody = service === 'own' && !ownParam
  if (ownBody && !hasProperty(operation.body, 'name')) {
    throw new Error(`${operation.id} is for a service's own, and names no service`)
  }
  return {
    isPublic: permission === 'public',
    ownParam,
    ownBody,
    admits({ kind }) {
      switch (kind) {
        case 'operator':
          return true
        case 'service':
          return service !== 'none'
        case 'scraper':
          return permission === 'metrics.read'
        case 'anonymous':
          return permission === 'public'
      }
    },
  }
}

interface Values<O extends Operation> {
  readonly params: ParamsOf<O>
  readonly query: QueryOf<O>
  readonly body: BodyOf<O>
}

/** The values of a call, checked against the operation's schemas. */
function createReader<O extends Operation>(
  operation: O,
  compile: (schema: TSchema, place: 'body' | 'query' | 'path') => Check,
): (params: unknown, target: string, body: unknown) => Values<O> {
  const checkParams = operation.params && compile(operation.params, 'path')
  const checkBody = operation.body && compile(operation.body, 'body')

  const readQuery = operation.query && createQueryReader(operation.query, compile)

  return (params, target, body) => {
    checkParams?.(params)
    const queryAt = target.indexOf('?')
    const text = queryAt === -1 ? '' : target.slice(queryAt + 1)
    if (readQuery === undefined && text !== '') {
      throw new HausError('invalid_request', 'This operation takes no query; leave it out.', {
        fields: [{ field: 'query', detail: 'must be absent' }],
      })
    }
    const query = readQuery?.(text)
    checkBody?.(body)
    // The one cast of the HTTP layer: the schemas that give the types have just been checked.
    return { params, query, body } as Values<O>
  }
}

/** Few distinct queries make most reads: the discovery of 200 services fits, at 64 KiB for each operation. */
const rememberedQueriesMax = 256
const rememberedQueryMaxChars = 256

/** Values of a query string. Those that were right are remembered, which saves a third of a read's own work. */
function createQueryReader(
  schema: TSchema,
  compile: (schema: TSchema, place: 'query') => Check,
): (text: string) => Readonly<Record<string, unknown>> {
  const check = compile(schema, 'query')
  const coerce = createCoercion(schema)
  const remembered = new Map<string, Readonly<Record<string, unknown>>>()
  return (text) => {
    const known = remembered.get(text)
    if (known !== undefined) return known
    const query = coerce(parseParameters(text, 'query'))
    check(query)
    Object.freeze(query)
    if (text.length <= rememberedQueryMaxChars) {
      if (remembered.size === rememberedQueriesMax) remembered.clear()
      remembered.set(text, query)
    }
    return query
  }
}

const serviceName = new RegExp(serviceNamePattern)

/** What a refused request was about, as the audit shows it. */
function targetOf({ exchange }: Pending): string {
  return pathOf(exchange.request).replace(/^\/(?:api\/)?/, '')
}

function unrecorded(failure: unknown): unknown {
  if (failure instanceof HausError && failure.status === 503) return failure
  return new HausError(
    'writes_unavailable',
    'The refusal of this request could not be recorded; try again.',
    { cause: failure },
  )
}

/** The answers that say how old they are. */
function viewStatuses(operation: Operation): ReadonlySet<number> {
  return new Set(
    Object.entries(operation.answers)
      .filter(([, { headers }]) => headers !== undefined && 'Haus-Index' in headers)
      .map(([status]) => Number(status)),
  )
}

function responseSchemas(operation: Operation): Record<string, TSchema> {
  const schemas: Record<string, TSchema> = {}
  for (const [status, answer] of Object.entries(operation.answers)) {
    if (answer.schema !== undefined) schemas[status] = answer.schema
  }
  return schemas
}

function pathPattern(path: string): RegExp {
  const escaped = path.replaceAll(/[.\\+*?^$()[\]|]/g, String.raw`\$&`)
  return new RegExp(`^${escaped.replaceAll(/\{\w+\}/g, '[^/]+')}$`)
}

function hasProperty(schema: TSchema | undefined, name: string): boolean {
  if (schema === undefined || !('properties' in schema)) return false
  const { properties } = schema
  return typeof properties === 'object' && properties !== null && name in properties
}

function fieldOf(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined
  return Object.getOwnPropertyDescriptor(value, name)?.value
}
