/**
 * `POST /api/gateway/proxy`: the same data plane, reached through its own door on loopback, which
 * opens to a secret of this process. The kernel carries the bytes, so both directions flow at the
 * pace of the slower side; between threads there would be no such brake.
 *
 * What a service sends must not act in the name of the API: no cookies, no redirect that a client
 * would follow with its token, nothing that a browser would run.
 */
import type { Agent, IncomingMessage } from 'node:http'
import { HausError, type BodyOf, type proxyRequest } from '@haus/contract'
import type { RequestContext } from '../../platform/http/caller.ts'
import type { Answer } from '../../platform/http/index.ts'
import type { Gateway } from './gateway.ts'
import { http } from '../../platform/http/node-http.ts'

type ProxyRequest = BodyOf<typeof proxyRequest>

/** More at a time are better sent to the gateway itself. */
const connectionsMax = 64
const timeoutDefaultMs = 30_000

/** Fields of an answer that would act on the client as if the API had sent them. */
const withheld =
  /^(?:set-cookie2?|location|refresh|www-authenticate|proxy-.*|connection|keep-alive|transfer-encoding|upgrade|trailer|strict-transport-security|public-key-pins|clear-site-data|content-security-policy.*|access-control-.*|alt-svc|service-worker-allowed|link|report-to|reporting-endpoints|nel|sourcemap|x-frame-options|x-content-type-options|haus-.*)$/

export function createRelay(gateway: Gateway): {
  send(request: ProxyRequest, context: RequestContext): Promise<Answer>
  close(): void
} {
  const agent = new http.Agent({ keepAlive: true, maxSockets: connectionsMax, maxFreeSockets: 8 })

  return {
    async send(request, context) {
      const body = bodyOf(request)
      const relay = gateway.relay
      if (relay === null) throw new HausError('not_ready', 'The gateway is not open.')
      const incoming = await exchange(request, body, context, relay, agent)
      const headers: Record<string, string> = {
        'content-security-policy': 'sandbox',
        'cache-control': 'no-store',
        'haus-source': incoming.headers['haus-source'] === 'gateway' ? 'gateway' : 'upstream',
      }
      for (const [name, value] of Object.entries(incoming.headers)) {
        if (value === undefined || withheld.test(name) || name === 'content-type') continue
        headers[name] = Array.isArray(value) ? value.join(', ') : value
      }
      // It tells the length that GET would have; this answer is to a POST, and has no body.
      if (request.method === 'HEAD') delete headers['content-length']
      return {
        status: incoming.statusCode ?? 502,
        contentType: incoming.headers['content-type'] ?? 'application/octet-stream',
        stream: incoming,
        headers,
      }
    },
    close: () => agent.destroy(),
  }
}

function bodyOf({ body, bodyBase64 }: ProxyRequest): Buffer | null {
  if (body !== undefined && bodyBase64 !== undefined) {
    const detail = 'and `body` exclude each other: send one of them'
    throw new HausError('invalid_request', `/bodyBase64 ${detail}.`, {
      fields: [{ field: '/bodyBase64', detail }],
    })
  }
  if (bodyBase64 !== undefined) return Buffer.from(bodyBase64, 'base64')
  return body === undefined ? null : Buffer.from(body)
}

/** Of the connection to the relay, and not of the request that it carries. */
const ownFields =
  /^(?:host|connection|keep-alive|content-length|transfer-encoding|expect|upgrade|te|trailer|haus-.*)$/i

function exchange(
  { service, method, path, headers, timeoutMs = timeoutDefaultMs }: ProxyRequest,
  body: Buffer | null,
  { caller, requestId }: RequestContext,
  relay: { readonly port: number; readonly secret: string },
  agent: Agent,
): Promise<IncomingMessage> {
  const fields: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers ?? {})) {
    if (!ownFields.test(name)) fields[name.toLowerCase()] = value
  }
  if (body !== null) fields['content-length'] = String(body.length)
  fields['x-request-id'] = requestId
  fields['haus-relay-secret'] = relay.secret
  fields['haus-relay-caller'] = caller.service ?? ''
  return new Promise((resolve, reject) => {
    const outgoing = http.request({
      host: '127.0.0.1',
      port: relay.port,
      method,
      path: `/${service}${path}`,
      headers: fields,
      agent,
      signal: AbortSignal.timeout(timeoutMs),
    })
    outgoing.on('response', resolve)
    outgoing.on('error', (cause) => {
      const late = cause.name === 'AbortError' || cause.name === 'TimeoutError'
      reject(
        late
          ? new HausError('upstream_timeout', `No answer within ${timeoutMs} ms.`, { cause })
          : new HausError('upstream_failed', 'The gateway broke the connection off.', { cause }),
      )
    })
    outgoing.end(body ?? undefined)
  })
}
