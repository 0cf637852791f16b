/**
 * The listener: Fastify 5 over `node:http`, with a limit on everything a stranger can make it hold.
 * It knows no operation; `routes.ts` brings those in.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { HausError } from '@haus/contract'
import type { Clock } from '../clock/clock.ts'
import type { Random } from '../crypto/random.ts'
import type { Log } from '../log/log.ts'
import { createAdmission, headersMax } from './admission.ts'
import { createExchanges, pathOf } from './exchange.ts'
import type { Exchanges, RequestDone } from './exchange.ts'
import { createHostCheck } from './hosts.ts'
import { targetMaxChars } from './path.ts'
import { listenError } from '../network/listen-error.ts'
import { refuseOnSocket } from './raw-refusal.ts'
import { http } from './node-http.ts'

export interface HttpServerOptions {
  readonly log: Log
  readonly clock: Clock
  readonly random: Random
  /** PEM. Absent: plain HTTP. */
  readonly tls?: { readonly cert: string | Buffer; readonly key: string | Buffer } | undefined
  /** Names beside IP literals, `localhost` and `*.localhost`; a leading `*.` takes every name below. */
  readonly allowedHosts: readonly string[]
  readonly onRequestDone?: RequestDone
  readonly limits?: Partial<HttpLimits>
}

export interface HttpLimits {
  /** A head that takes longer is a slow-loris, not a client. */
  readonly headersTimeoutMs: number
  /** 256 KiB in a minute is 35 kbit/s: slower than any network a house stands on. */
  readonly requestTimeoutMs: number
  /** How late the two timeouts above may be noticed; Node's 30 s would make them 40 s and 90 s. */
  readonly checkIntervalMs: number
  /** Longer than the 60 s of common load balancers, so that they close first and never meet a closed door. */
  readonly keepAliveTimeoutMs: number
  /** A connection on which no byte moves, either way: a reader that stopped reading. Streams send a comment more often. */
  readonly idleTimeoutMs: number
  /** Head and target; a 15-minute token has about 400 bytes. */
  readonly headerMaxBytes: number
  /** Half of the usual 8,192 descriptors; 200 services with 10 instances and a spare connection each. */
  readonly connectionsMax: number
  /** The largest body of the contract, a credential of 64 KiB, escaped, with room. */
  readonly bodyMaxBytes: number
}

export const httpLimits: HttpLimits = {
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 60_000,
  checkIntervalMs: 2_000,
  keepAliveTimeoutMs: 75_000,
  idleTimeoutMs: 120_000,
  headerMaxBytes: 16 * 1024,
  connectionsMax: 4096,
  bodyMaxBytes: 256 * 1024,
}

export interface ListenAddress {
  readonly host: string
  readonly port: number
}

export interface Listening extends ListenAddress {
  readonly url: string
}

export type RawHandler = (request: IncomingMessage, response: ServerResponse) => void

export interface HttpServer {
  readonly app: FastifyInstance
  readonly exchanges: Exchanges
  /**
   * Serves GET of exactly this path past Fastify, whose router, request and reply take a tenth of
   * the processor time of a discovery read (5 of 45 µs measured). The route must be Fastify's too:
   * there it answers HEAD, and 405 to the other methods.
   */
  handleDirectly(path: string, handle: RawHandler): void
  /** @throws HausError address_in_use, address_unusable */
  listen(address: ListenAddress): Promise<Listening>
  /** Takes nothing new, lets what runs finish, and cuts what is left after `deadlineMs`. */
  close(deadlineMs: number): Promise<void>
}

export function createHttpServer(options: HttpServerOptions): HttpServer {
  const limits = { ...httpLimits, ...options.limits }
  const exchanges = createExchanges(options)
  const admit = createAdmission(createHostCheck(options.allowedHosts))
  const server = createListener(options.tls, limits)
  const direct = new Map<string, RawHandler>()

  const app = fastify({
    // The house writes its own log lines; Fastify would make a child logger per request.
    logger: false,
    bodyLimit: limits.bodyMaxBytes,
    // Ids are made by the exchange, once, and only where they are sent.
    genReqId: () => '',
    return503OnClosing: false,
    clientErrorHandler: (error, socket) => refuseOnSocket(socket, error, options.random.id()),
    exposeHeadRoutes: false,
    routerOptions: {
      // Too long a parameter is for the schema to refuse, by name.
      maxParamLength: targetMaxChars,
      // Parsed by the operation, which refuses repeats and unknown names.
      querystringParser: () => ({}),
    },
    serverFactory: (handle) => {
      const receive = (request: IncomingMessage, response: ServerResponse): void => {
        const refusal = admit(request)
        if (refusal !== null) {
          refuseAtDoor(request, response, refusal.error, refusal.pathless)
          return
        }
        const past = request.method === 'GET' ? direct.get(pathOf(request)) : undefined
        if (past === undefined) handle(request, response)
        else past(request, response)
      }
      server.on('request', receive)
      // Answered by the operation, after authentication and limits, instead of by Node at once.
      server.on('checkContinue', receive)
      server.on('checkExpectation', (request, response) => {
        const detail = 'must be `100-continue` or absent'
        const error = new HausError('invalid_request', `header.expect ${detail}.`, {
          fields: [{ field: 'header.expect', detail }],
        })
        refuseAtDoor(request, response, error, true)
      })
      return server
    },
  })

  function refuseAtDoor(
    request: IncomingMessage,
    response: ServerResponse,
    error: HausError,
    pathless: boolean,
  ): void {
    const exchange = exchanges.begin(request, response, 'none')
    // A head that can be read in two ways may be the first half of a smuggled one.
    if (pathless) response.setHeader('connection', 'close')
    exchanges.refuse(exchange, error, pathless ? 'pathless' : 'problem')
  }

  server.on('connect', (_request, socket) => {
    const error = new HausError('method_not_allowed', 'CONNECT is not taken: this is no proxy.')
    refuseOnSocket(socket, error, options.random.id())
  })

  let ready: Promise<unknown> | null = null

  return {
    app,
    exchanges,
    handleDirectly(path, handle) {
      direct.set(path, handle)
    },

    async listen(address) {
      ready ??= Promise.resolve(app.ready())
      await ready
      await new Promise<void>((resolve, reject) => {
        const failed = (error: Error): void => reject(listenError(error, address, 'HAUS_API_ADDR'))
        server.once('error', failed)
        server.listen({ host: address.host, port: address.port }, () => {
          server.off('error', failed)
          resolve()
        })
      })
      const bound = server.address()
      const port = bound === null || typeof bound === 'string' ? address.port : bound.port
      const name = address.host.includes(':') ? `[${address.host}]` : address.host
      const scheme = options.tls === undefined ? 'http' : 'https'
      // Where it really listens: `localhost` is a name for it, and nothing may be registered there.
      const host = bound === null || typeof bound === 'string' ? address.host : bound.address
      return { host, port, url: `${scheme}://${name}:${port}` }
    },

    async close(deadlineMs) {
      exchanges.drain()
      if (server.listening) {
        const cutOff = options.clock.after(deadlineMs, () => server.closeAllConnections())
        await new Promise<void>((resolve) => server.close(() => resolve()))
        cutOff()
      }
      await app.close()
    },
  }
}

function createListener(tls: HttpServerOptions['tls'], limits: HttpLimits): Server {
  const options = {
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    connectionsCheckingInterval: limits.checkIntervalMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    maxHeaderSize: limits.headerMaxBytes,
    insecureHTTPParser: false,
    // `admission.ts` asks for it, with a problem document.
    requireHostHeader: false,
  }
  const server: Server =
    tls === undefined
      ? http.createServer(options)
      : createTlsServer({
          ...options,
          cert: tls.cert,
          key: tls.key,
          minVersion: 'TLSv1.2',
          ALPNProtocols: ['http/1.1'],
          // A handshake is two round trips.
          handshakeTimeout: limits.headersTimeoutMs,
        })
  server.maxHeadersCount = headersMax + 1
  server.maxConnections = limits.connectionsMax
  server.timeout = limits.idleTimeoutMs
  return server
}
