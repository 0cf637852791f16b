/** The HTTP layer alone, on a free port, with known callers and handlers that only note what they got. */
import { catalogue, HausError } from '@haus/contract'
import type { Operation } from '@haus/contract'
import { systemClock } from '../platform/clock/clock.ts'
import { systemRandom } from '../platform/crypto/random.ts'
import { createHttpServer, createRoutes } from '../platform/http/index.ts'
import type {
  Answer,
  Call,
  Caller,
  HttpLimits,
  HttpServer,
  RequestContext,
  Routes,
} from '../platform/http/index.ts'
import { createLog } from '../platform/log/log.ts'
import { Writable } from 'node:stream'

const never = { expiresAtMonotonicMs: null, revoked: null }
const callers = new Map<string, Caller>([
  ['operator-token', { kind: 'operator', actor: 'operator', service: null, ...never }],
  ['orders-token', { kind: 'service', actor: 'service:orders', service: 'orders', ...never }],
  ['scrape-token', { kind: 'scraper', actor: 'scraper', service: null, ...never }],
])

export interface Denial {
  readonly context: RequestContext
  readonly target: string
  readonly code: string
}

export interface TestHttpServer {
  readonly http: HttpServer
  readonly port: number
  readonly url: string
  /** What reached a handler, in order. */
  readonly calls: { operation: string; call: Call<Operation> }[]
  readonly denials: Denial[]
  readonly done: { operation: string; method: string; status: number }[]
  /** Every line that was logged. */
  log(): string
  close(): Promise<void>
}

export interface TestHttpOptions {
  /** Default: any that is free. */
  readonly port?: number
  readonly allowedHosts?: readonly string[]
  readonly limits?: Partial<HttpLimits>
  readonly tls?: { cert: string; key: string }
  /** Stands in for the handler of that operation; the others answer their example. */
  readonly handlers?: Readonly<Record<string, (call: Call<Operation>) => Answer | Promise<Answer>>>
  /** Brings its own operations; the others get the stand-ins above. */
  readonly surface?: (routes: Routes) => void
  readonly recordDenial?: (denial: Denial) => Promise<void>
}

export async function startHttpServer(options: TestHttpOptions = {}): Promise<TestHttpServer> {
  const lines: string[] = []
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString())
      done()
    },
  })
  const calls: TestHttpServer['calls'] = []
  const denials: Denial[] = []
  const done: TestHttpServer['done'] = []
  const http = createHttpServer({
    log: createLog({ level: 'debug', destination }),
    clock: systemClock,
    random: systemRandom,
    allowedHosts: options.allowedHosts ?? [],
    onRequestDone: (operation, method, status) => done.push({ operation, method, status }),
    ...(options.limits !== undefined && { limits: options.limits }),
    ...(options.tls !== undefined && { tls: options.tls }),
  })
  const routes = createRoutes(http, {
    authenticate(authorization) {
      if (authorization === undefined) throw new HausError('unauthenticated', 'Send a token.')
      const caller = callers.get(authorization.replace(/^Bearer /, ''))
      if (caller === undefined) throw new HausError('token_invalid', 'The token is not valid.')
      return caller
    },
    freshness: () => ({ index: 5, ageMs: 0 }),
    canonicalService: (name) => (name === 'zimmer-21' ? 'orders' : name),
    async recordDenial(context, target, code) {
      await options.recordDenial?.({ context, target, code })
      denials.push({ context, target, code })
    },
  })
  const own = new Set<string>()
  options.surface?.({
    ...routes,
    implement(operation, handler) {
      own.add(operation.id)
      routes.implement(operation, handler)
    },
  })
  for (const operation of catalogue) {
    if (own.has(operation.id)) continue
    const handler = options.handlers?.[operation.id]
    routes.implement(operation, (call) => {
      calls.push({ operation: operation.id, call })
      if (handler !== undefined) return handler(call)
      const status = operation.example?.status ?? 204
      const body = operation.example?.answer
      return body === undefined ? { status } : { status, body }
    })
  }
  routes.finish()
  const { port, url } = await http.listen({ host: '127.0.0.1', port: options.port ?? 0 })
  return {
    http,
    port,
    url,
    calls,
    denials,
    done,
    log: () => lines.join(''),
    close: () => http.close(1000),
  }
}
