/**
 * The gateway's doors: one for clients, and one on loopback for the API's own relay, which opens
 * to the secret of this process only. Both have a limit on everything a stranger can make them hold.
 */
import type { IncomingMessage, Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { HausError } from '@haus/contract/errors'
import { refuseOnSocket } from '../../../platform/http/raw-refusal.ts'
import { Exchange } from './exchange.ts'
import { GatewayResponse } from './gateway-response.ts'
import type { Plane } from './plane.ts'
import { fieldsMax } from './request-head.ts'
import { http } from '../../../platform/http/node-http.ts'

/** A head that takes longer is a slow-loris, not a client. */
const headersTimeoutMs = 10_000
/** How late that may be noticed; Node's own 30 s would make it 40 s. */
const checkIntervalMs = 2_000
/** Longer than the 60 s of common load balancers, so that they close first and never meet a closed door. */
const keepAliveTimeoutMs = 75_000
/** A connection on which no byte moves at all: above the 5 minutes that an event stream may be silent. */
const idleTimeoutMs = 330_000
const headMaxBytes = 16 * 1024
/** Half of the usual 8,192 descriptors; the other half is for the connections to instances. */
const connectionsMax = 4_096

export interface Tls {
  readonly cert: Uint8Array
  readonly key: Uint8Array
}

export function createListener(plane: Plane, tls: Tls | null, isRelay: boolean): Server {
  const options = {
    ServerResponse: GatewayResponse,
    headersTimeout: headersTimeoutMs,
    // Bodies have limits of their own, by what has come of them and when: `Exchange.sweep`.
    requestTimeout: 0,
    connectionsCheckingInterval: checkIntervalMs,
    keepAliveTimeout: keepAliveTimeoutMs,
    maxHeaderSize: headMaxBytes,
    insecureHTTPParser: false,
    // Asked for by `readRequestHead`, with a problem document.
    requireHostHeader: false,
    // Node would make a stream of every body that is not there and drain it: a twentieth of a GET.
    optimizeEmptyRequests: true,
  }
  const server: Server =
    tls === null
      ? http.createServer(options)
      : createTlsServer({
          ...options,
          cert: Buffer.from(tls.cert),
          key: Buffer.from(tls.key),
          minVersion: 'TLSv1.2',
          ALPNProtocols: ['http/1.1'],
          handshakeTimeout: headersTimeoutMs,
        })
  // Node cuts off in silence what is beyond; one more lets us see that it was.
  server.maxHeadersCount = fieldsMax + 1
  server.maxConnections = connectionsMax
  server.timeout = idleTimeoutMs

  const take = (request: IncomingMessage, response: GatewayResponse): void => {
    if (isRelay && !plane.isRelaySecret(relaySecretOf(request))) {
      request.socket.destroy()
      return
    }
    response.on('close', onClose)
    new Exchange(plane, request, response, isRelay).start()
  }
  server.on('request', take)
  // Answered after the token and the limit have been checked, instead of by Node at once.
  server.on('checkContinue', take)
  server.on('checkExpectation', take)
  server.on('connect', (_request, socket: Duplex) => {
    refuse(new HausError('method_not_allowed', 'CONNECT is not taken: this is no tunnel.'), socket)
  })
  server.on('clientError', refuse)

  function refuse(error: Error, socket: Duplex): void {
    refuseOnSocket(socket, error, plane.requestIdOf(undefined), ['haus-source: gateway'])
  }

  return server
}

function onClose(this: GatewayResponse): void {
  this.exchange?.onClosed()
}

function relaySecretOf({ rawHeaders }: IncomingMessage): string | null {
  for (let place = 0; place < rawHeaders.length; place += 2) {
    if (rawHeaders[place] === 'haus-relay-secret') return rawHeaders[place + 1] ?? null
  }
  return null
}

export function listen(server: Server, host: string, port: number): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, () => {
      server.off('error', reject)
      const bound = server.address()
      if (bound === null || typeof bound === 'string') reject(new Error('no address was bound'))
      else resolve(bound)
    })
  })
}
