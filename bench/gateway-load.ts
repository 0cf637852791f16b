/**
 * Many clients at once through the gateway over real processes, which may be killed and replaced
 * under them: every request must come back as expected.
 *
 * The dead stay registered, as they would be: nobody tells the house that they are gone.
 */
import type { House } from '../e2e/harness.ts'
import { createIdentity, requestToken } from '../e2e/client.ts'
import { until } from '../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { generateLoad, type PlanResult } from './load-generator.ts'
import { startReferenceServer, type ReferenceServer } from './reference-server.ts'

export interface GatewayLoad {
  readonly house: House
  readonly service: string
  readonly clients: number
  readonly durationMs: number
  /** Absent: nobody is killed. */
  readonly killEveryMs?: number
  readonly onProgress?: (text: string) => void
}

export interface GatewayLoadReport {
  readonly result: PlanResult
  readonly killed: number
}

const instances = 4
/** What a person would wait for; the gateway's own limits are below or about the same. */
const answerTimeoutMs = 20_000

export async function runGatewayLoad(load: GatewayLoad): Promise<GatewayLoadReport> {
  const { house, service, clients, durationMs, killEveryMs } = load
  const url = house.endpoints['gateway']
  if (url === undefined) throw new Error('The house opened no gateway')
  const visitor = await createIdentity(house.operator, 'visitor')
  const token = await requestToken(house.url, visitor, 'haus-gateway')
  const living: ReferenceServer[] = []
  const arrive = async (): Promise<void> => {
    const server = await startReferenceServer({
      headers: { 'content-type': 'text/plain' },
      body: 'x'.repeat(1024),
    })
    living.push(server)
    await house.operator.expectSoon(201, 'POST', '/api/services/register', {
      name: service,
      version: '1.0.0',
      address: '127.0.0.1',
      port: server.port,
    })
  }
  let killed = 0
  let replacing = Promise.resolve()
  const timers: NodeJS.Timeout[] = []
  const replaceOne = async (): Promise<void> => {
    await living.shift()?.[Symbol.asyncDispose]()
    killed += 1
    await arrive()
  }
  const failed = Promise.withResolvers<never>()
  try {
    for (let count = 0; count < instances; count += 1) await arrive()
    await until('the gateway reaches the service', async () => {
      const answer = await fetch(`${url}/${service}/x`, { headers: { 'haus-token': token } })
      await answer.arrayBuffer()
      return answer.status === 200
    })
    const { hostname, port } = new URL(url)
    const running = generateLoad(
      {
        host: hostname,
        port: Number(port),
        connections: clients,
        warmupMs: 0,
        durationMs,
        answerTimeoutMs,
        templates: templatesOf(service, token, killEveryMs === undefined),
      },
      {
        onProgress: (answered, failures) =>
          load.onProgress?.(`${answered} answers, ${failures} failures, ${killed} killed`),
      },
    )
    if (killEveryMs !== undefined) {
      timers.push(
        setInterval(() => {
          replacing = replacing.then(replaceOne)
          replacing.catch(failed.reject)
        }, killEveryMs),
      )
    }
    const result = await Promise.race([running, failed.promise])
    return { result, killed }
  } finally {
    for (const timer of timers) clearInterval(timer)
    await replacing.catch(() => {})
    await Promise.all(living.map((server) => server[Symbol.asyncDispose]()))
  }
}

/** While instances are killed only what may be run again can be promised to succeed. */
function templatesOf(service: string, token: string, all: boolean) {
  const headers = { 'haus-token': token }
  const get = { method: 'GET', path: `/${service}/x?y=1`, headers, expect: 200 }
  const head = { method: 'HEAD', path: `/${service}/x`, headers, expect: 200 }
  const post = {
    method: 'POST',
    path: `/${service}/x`,
    headers,
    body: JSON.stringify({ order: 'y'.repeat(500) }),
    expect: 200,
  }
  return all ? [get, get, get, post] : [get, get, get, head]
}
