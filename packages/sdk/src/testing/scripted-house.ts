/**
 * Stands in for a house where a test has to decide what it says and when: real HTTP, real signed
 * tokens, a real event stream. What a real house does is tested against a real house.
 */
import type { ServerResponse } from 'node:http'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import type { Granted } from '../house/credentials.ts'
import type { DiscoveryAnswer } from '../house/discovery.ts'
import type { ManualClock } from './manual-clock.ts'
import {
  json,
  problem,
  startScriptedServer,
  type Asked,
  type ScriptedServer,
} from './scripted-server.ts'

export const issuer = 'urn:haus:test'

export interface ScriptedHouse extends AsyncDisposable {
  readonly server: ScriptedServer
  readonly url: string
  credentials: Record<string, Granted>
  config: { version: number; data: Record<string, unknown> }
  readonly services: Map<string, DiscoveryAnswer>
  /** Instances it knows, by id. */
  readonly instances: Map<string, { incarnation: number; draining: boolean }>
  readonly heartbeats: Record<string, unknown>[]
  /** Instead of the answer, by operation; return false to answer as usual. */
  readonly refuse: Map<string, (response: ServerResponse) => void | false>
  readonly streams: Set<ServerResponse>
  tokensIssued: number
  emit(type: string, subject: string, data?: unknown): void
  sign(
    service: string,
    claims?: { audience?: string; issuer?: string; ttlSeconds?: number },
  ): Promise<string>
  away(): Promise<void>
  back(): Promise<void>
}

export function granted(version: number, value = `value-${version}`): Granted {
  return { id: 'c-1', version, data: { password: value }, expiresAt: null }
}

export function answerOf(service: string, ports: readonly number[], index = 1): DiscoveryAnswer {
  const [port = null] = ports
  return {
    service,
    address: port === null ? null : '127.0.0.1',
    port,
    url: port === null ? null : `http://127.0.0.1:${port}`,
    health: port === null ? 'offline' : 'healthy',
    loadBalancing: { strategy: 'power-of-two-choices', candidates: ports.length },
    endpoints: [],
    instances: ports.map((at) => ({
      id: `i-${at}`,
      address: '127.0.0.1',
      port: at,
      scheme: 'http',
      url: `http://127.0.0.1:${at}`,
      health: 'healthy',
      weight: 100,
      version: '1.0.0',
      zone: null,
      tags: [],
      metadata: {},
    })),
    index,
  }
}

export async function openScriptedHouse(clock: ManualClock): Promise<ScriptedHouse> {
  const { publicKey, privateKey } = await generateKeyPair('EdDSA', { crv: 'Ed25519' })
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k-1', alg: 'EdDSA', use: 'sig' }
  const streams = new Set<ServerResponse>()
  let eventId = 0

  async function answer(asked: Asked, response: ServerResponse): Promise<void> {
    const { method } = asked
    const url = new URL(asked.path, 'http://house')
    const path = url.pathname
    const operation = operationOf(method, path)
    const own = house.refuse.get(operation)
    if (own && own(response) !== false) return
    const [, id = ''] = /\/instances\/([^/]+)/.exec(path) ?? []
    const instance = house.instances.get(id)
    switch (operation) {
      case 'issueToken':
        house.tokensIssued += 1
        json(response, 200, {
          access_token: await house.sign('orders', { audience: asked.body.audience }),
          token_type: 'Bearer',
          expires_in: 900,
        })
        return
      case 'getJwks':
        json(response, 200, { keys: [jwk] })
        return
      case 'registerInstance': {
        const incarnation = (house.instances.get('i-own')?.incarnation ?? 0) + 1
        house.instances.set('i-own', { incarnation, draining: false })
        json(response, 201, {
          service: asked.body.name,
          instanceId: 'i-own',
          incarnation,
          heartbeatIntervalSeconds: 10,
          leaseTtlSeconds: 30,
          credentials: house.credentials,
          config: house.config,
          advertise: { state: 'reachable', address: '127.0.0.1', port: asked.body.port },
          warnings: [],
        })
        return
      }
      case 'heartbeat': {
        house.heartbeats.push(asked.body)
        if (!instance) return problem(response, 404, 'instance_not_found')
        if (asked.body.incarnation < instance.incarnation) {
          return problem(response, 409, 'stale_incarnation')
        }
        const changed = Object.entries(house.credentials)
          .filter(([name, { version }]) => asked.body.adopted[name] !== version)
          .map(([name, { version }]) => [name, version])
        const gone = Object.keys(asked.body.adopted)
          .filter((name) => !house.credentials[name])
          .map((name) => [name, null])
        const { version } = house.config
        json(response, 200, {
          state: 'healthy',
          heartbeatIntervalSeconds: 10,
          leaseTtlSeconds: 30,
          changed: {
            credentials: Object.fromEntries([...changed, ...gone]),
            configVersion: asked.body.configVersion === version ? null : version,
          },
        })
        return
      }
      case 'updateInstance':
        if (instance) instance.draining = true
        json(response, 200, {})
        return
      case 'deregisterInstance':
        house.instances.delete(id)
        response.writeHead(204).end()
        return
      case 'getServiceCredentials':
        json(response, 200, {
          service: 'orders',
          credentials: house.credentials,
          cacheTtlSeconds: 30,
        })
        return
      case 'getServiceConfig':
        json(response, 200, house.config)
        return
      case 'discover': {
        const found = house.services.get(url.searchParams.get('service') ?? '')
        if (found) json(response, 200, found)
        else problem(response, 404, 'service_not_found')
        return
      }
      case 'streamEvents':
        response.writeHead(200, { 'content-type': 'text/event-stream' }).write('retry: 2000\n\n')
        streams.add(response)
        response.once('close', () => streams.delete(response))
        return
      default:
        problem(response, 404, 'route_not_found')
    }
  }

  const server = await startScriptedServer(answer)
  const house: ScriptedHouse = {
    server,
    get url() {
      return server.url
    },
    credentials: {},
    config: { version: 0, data: {} },
    services: new Map(),
    instances: new Map(),
    heartbeats: [],
    refuse: new Map(),
    streams,
    tokensIssued: 0,
    emit(type, subject, data = {}) {
      eventId += 1
      const event = { specversion: '1.0', id: String(eventId), type, subject, data }
      for (const stream of streams)
        stream.write(`id: ${eventId}\ndata: ${JSON.stringify(event)}\n\n`)
    },
    sign(service, { audience = 'haus', issuer: by = issuer, ttlSeconds = 900 } = {}) {
      const now = Math.floor(clock.now().getTime() / 1_000)
      return new SignJWT({ client_id: 'k' })
        .setProtectedHeader({ alg: 'EdDSA', typ: 'at+jwt', kid: 'k-1' })
        .setIssuer(by)
        .setSubject(`service:${service}`)
        .setAudience(audience)
        .setIssuedAt(now)
        .setExpirationTime(now + ttlSeconds)
        .sign(privateKey)
    },
    away: server.close,
    back: server.open,
    [Symbol.asyncDispose]: server.close,
  }
  return house
}

function operationOf(method: string, path: string): string {
  if (path === '/api/auth/token') return 'issueToken'
  if (path === '/.well-known/jwks.json') return 'getJwks'
  if (path === '/api/services/register') return 'registerInstance'
  if (path === '/api/discover') return 'discover'
  if (path === '/api/events') return 'streamEvents'
  if (path.endsWith('/heartbeat')) return 'heartbeat'
  if (path.endsWith('/config')) return 'getServiceConfig'
  if (path.startsWith('/api/credentials/service/')) return 'getServiceCredentials'
  if (path.includes('/instances/'))
    return method === 'DELETE' ? 'deregisterInstance' : 'updateInstance'
  return 'none'
}
