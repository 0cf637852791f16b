/**
 * A Node service with the SDK. It answers `GET /` with what it holds (fingerprints, never a
 * secret), `/kilobyte` with a body for the load, and `/ask-billing` by calling another service.
 */
import { createHash } from 'node:crypto'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { createHealth, joinHaus } from '@haus/sdk'

const billingDeadlineMs = 2_000

const kilobyte = Buffer.alloc(1_024, 'x')
const health = createHealth()
let served = 0
let house: Awaited<ReturnType<typeof joinHaus>> | undefined

const server = http.createServer((request, response) => {
  if (health.handle(request, response)) return
  served += 1
  if (request.url === '/kilobyte') response.end(kilobyte)
  else if (request.url === '/ask-billing') void askBilling(response)
  else answer(response, 200, { service: 'orders', pid: process.pid, held: held(), served })
})
server.listen(0, '127.0.0.1')
await new Promise((resolve) => server.once('listening', resolve))

house = await joinHaus({
  name: 'orders',
  version: '1.4.0',
  port: (server.address() as AddressInfo).port,
  healthEndpoint: '/health/ready',
  dependencies: ['billing'],
  endpoints: [
    { path: '/', methods: ['GET'] },
    { path: '/kilobyte', methods: ['GET'] },
  ],
  cacheFile: 'orders.cache',
  health,
  drain: () => new Promise((resolve) => server.close(resolve)),
  exit: true,
})

function held() {
  const names = house?.credentialNames ?? []
  return Object.fromEntries(
    names.map((name) => {
      const credential = house?.credential(name)
      const secret = credential?.reveal()['secret'] ?? ''
      const print = createHash('sha256').update(secret).digest('hex').slice(0, 12)
      return [name, { version: credential?.version, print }]
    }),
  )
}

async function askBilling(response: http.ServerResponse): Promise<void> {
  try {
    using billing = await house?.pick('billing')
    const signal = AbortSignal.timeout(billingDeadlineMs)
    const said = await fetch(`${billing?.url}/`, { signal })
    answer(response, said.status, await said.json())
  } catch (error) {
    answer(response, 502, { error: String(error) })
  }
}

function answer(response: http.ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}
