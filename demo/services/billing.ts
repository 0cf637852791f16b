/**
 * A service that joins by REST alone: what it sends is what a few lines of curl would send, in any
 * language. It imports nothing; `docs/guides/join-by-rest.md` has the same in a shell.
 *
 * It answers `GET /` with what it holds, never with a secret.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import http from 'node:http'
import type { AddressInfo } from 'node:net'

interface Registered {
  readonly instanceId: string
  readonly incarnation: number
  readonly heartbeatIntervalSeconds: number
  readonly credentials: Readonly<Record<string, Credential>>
}

interface Credential {
  readonly version: number
  readonly data: Readonly<Record<string, string>>
}

/** The house may be away; whoever asks again at once keeps it from coming back. */
const retryMs = 500
/** Half a minute. What a person has to mend, such as a wrong key, is told after it. */
const startTries = 60
const callTimeoutMs = 5_000

const houseUrl = setting('HAUS_URL')
let credentials: Registered['credentials'] = {}
let served = 0
let token: string | undefined

const server = http.createServer((_request, response) => {
  served += 1
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ service: 'billing', pid: process.pid, held: held(), served }))
})
server.listen(0, '127.0.0.1')
await new Promise((resolve) => server.once('listening', resolve))

token = await untilDone(newToken)
const instance = (await untilDone(() =>
  post('/api/services/register', {
    name: 'billing',
    version: '3.1.0',
    port: (server.address() as AddressInfo).port,
    endpoints: [{ path: '/', methods: ['GET'] }],
  }),
)) as Registered
credentials = instance.credentials
void follow()
setInterval(() => void beat().catch(renew), instance.heartbeatIntervalSeconds * 1_000)

process.once('SIGTERM', () => {
  const path = `/api/services/billing/instances/${instance.instanceId}`
  void call('DELETE', path).finally(() => process.exit(0))
})

async function beat(): Promise<void> {
  await post(`/api/services/billing/instances/${instance.instanceId}/heartbeat`, {
    incarnation: instance.incarnation,
    adopted: Object.fromEntries(
      Object.entries(credentials).map(([name, { version }]) => [name, version]),
    ),
  })
}

/** Hears of new versions as they are written, and reads them. */
async function follow(): Promise<void> {
  for (;;) {
    try {
      const response = await fetch(`${houseUrl}/api/events?type=haus.credential.`, {
        headers: { authorization: `Bearer ${token}` },
      })
      if (!response.ok || !response.body) throw new Error(`events answered ${response.status}`)
      await readCredentials()
      for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
        if (chunk.includes('data:')) await readCredentials()
      }
    } catch {
      await pause()
      await renew()
    }
  }
}

async function readCredentials(): Promise<void> {
  const response = await call('GET', '/api/credentials/service/billing')
  credentials = ((await response.json()) as Registered).credentials
}

function held() {
  return Object.fromEntries(
    Object.entries(credentials).map(([name, { version, data }]) => {
      const print = createHash('sha256')
        .update(data['secret'] ?? '')
        .digest('hex')
        .slice(0, 12)
      return [name, { version, print }]
    }),
  )
}

/** A house that is away or busy (503) is asked again: every write is safe to repeat. */
async function untilDone<T>(act: () => Promise<T>): Promise<T> {
  for (let triesLeft = startTries; ; triesLeft -= 1) {
    try {
      return await act()
    } catch (error) {
      if (triesLeft === 1) throw error
      await pause()
    }
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, retryMs))
}

async function renew(): Promise<void> {
  token = await newToken().catch(() => token)
}

async function newToken(): Promise<string> {
  const answer = (await post('/api/auth/token', {
    grant_type: 'client_credentials',
    client_id: setting('HAUS_CLIENT_ID'),
    client_secret: (await readFile(setting('HAUS_CLIENT_SECRET_FILE'), 'utf8')).trim(),
  })) as { readonly access_token: string }
  return answer.access_token
}

async function post(path: string, body: unknown): Promise<unknown> {
  return (await call('POST', path, body)).json()
}

async function call(method: string, path: string, body?: unknown): Promise<Response> {
  const response = await fetch(houseUrl + path, {
    method,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(callTimeoutMs),
  })
  if (!response.ok)
    throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
  return response
}

function setting(name: string): string {
  const value = process.env[name]
  if (value === undefined) throw new Error(`${name} is not set`)
  return value
}
