/**
 * A real house with its gateway open, services behind it, and somebody with a token in front:
 * what every proof of the gateway starts from.
 */
import assert from 'node:assert/strict'
import { until } from '../../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { requestToken, type HouseClient, type ServiceKey } from '../client.ts'
import { startHouse, type House, type HouseOptions } from '../harness.ts'
import { exchange, type ClientAnswer } from './raw-client.ts'
import { RawUpstream } from './raw-upstream.ts'

export interface FrontDoor extends AsyncDisposable {
  readonly house: House
  readonly operator: HouseClient
  /** Where the gateway listens, on 127.0.0.1. */
  readonly port: number
  /** Of the service `visitor`, for the gateway. */
  readonly token: string
  readonly key: ServiceKey
  /** A service with one instance, which answers 200 until a test says otherwise; made once. */
  service(name: string, options?: { readonly instances?: number }): Promise<Room>
}

export interface Room {
  readonly name: string
  readonly upstream: RawUpstream
  readonly upstreams: readonly RawUpstream[]
}

/** A first probe is over within a second on a quiet machine. */
const servingDeadlineMs = 20_000

export async function openFrontDoor(options: HouseOptions = {}): Promise<FrontDoor> {
  const house = await startHouse({
    ...options,
    env: { HAUS_GATEWAY_ADDR: '127.0.0.1:0', HAUS_LOG_LEVEL: 'warn', ...options.env },
  })
  const upstreams: RawUpstream[] = []
  const rooms = new Map<string, Room>()
  try {
    const port = gatewayPort(house)
    const key = await createKey(house.operator, 'visitor')
    const token = await requestToken(house.url, key, 'haus-gateway')
    return {
      house,
      operator: house.operator,
      port,
      token,
      key,
      async service(name, { instances = 1 } = {}) {
        const known = rooms.get(name)
        if (known) return known
        const own: RawUpstream[] = []
        for (let count = 0; count < instances; count += 1) own.push(await RawUpstream.listen())
        upstreams.push(...own)
        await Promise.all(own.map((upstream) => register(house, name, upstream.port)))
        await untilServed(port, token, name, own)
        const [upstream] = own
        assert.ok(upstream)
        const room = { name, upstream, upstreams: own }
        rooms.set(name, room)
        return room
      },
      [Symbol.asyncDispose]: async () => {
        for (const upstream of upstreams) await upstream.close()
        await house[Symbol.asyncDispose]()
      },
    }
  } catch (error) {
    await house[Symbol.asyncDispose]()
    throw error
  }
}

export function gatewayPort({ endpoints }: House): number {
  const url = endpoints['gateway']
  assert.ok(url, `endpoints.json names no gateway: ${JSON.stringify(endpoints)}`)
  return Number(new URL(url).port)
}

export async function createKey(operator: HouseClient, service: string): Promise<ServiceKey> {
  const { body } = await operator.expectSoon(201, 'POST', `/api/services/${service}/keys`)
  return { clientId: body.clientId, clientSecret: body.clientSecret }
}

/** As the operator: without a lease, so that only probes and traffic decide. */
export async function register(
  house: House,
  name: string,
  port: number,
  more: Readonly<Record<string, unknown>> = {},
): Promise<{ instanceId: string; incarnation: number }> {
  const answer = await house.operator.expectSoon(201, 'POST', '/api/services/register', {
    name,
    version: '1.0.0',
    address: '127.0.0.1',
    port,
    ...more,
  })
  return answer.body
}

/** Until every one of them has answered something; what they saw of it is forgotten. */
async function untilServed(
  port: number,
  token: string,
  name: string,
  upstreams: readonly RawUpstream[],
): Promise<void> {
  const request = get(`/${name}/warm`, `Haus-Token: ${token}\r\nConnection: close\r\n`)
  await until(
    `every instance of ${name} serves`,
    async () => {
      await exchange(port, request)
      return upstreams.every(({ requests }) => requests.length > 0)
    },
    servingDeadlineMs,
  )
  for (const upstream of upstreams) upstream.requests.length = 0
}

/** A GET in bytes, with these lines beside Host. */
export function get(target: string, lines = '', host = 'haus.localhost'): string {
  return `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${lines}\r\n`
}

export function post(target: string, lines: string, body: string): string {
  return `POST ${target} HTTP/1.1\r\nHost: haus.localhost\r\n${lines}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
}

/** An answer that the gateway made itself: a problem document that says so. */
export function assertRefusal(answer: ClientAnswer, ...statuses: readonly number[]): void {
  const said = `${answer.head}\n${answer.body.toString()}`
  assert.ok(statuses.includes(answer.status), `expected ${statuses.join(' or ')}: ${said}`)
  assert.deepEqual(answer.fields.get('haus-source'), ['gateway'], said)
  assert.match(String(answer.fields.get('content-type')), /^application\/problem\+json/, said)
  const problem = JSON.parse(answer.body.toString())
  assert.equal(problem.status, answer.status)
  assert.equal(typeof problem.code, 'string')
}
