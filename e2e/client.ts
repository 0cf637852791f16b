/**
 * A client of the house for tests: every call has a deadline, every answer is read to its end,
 * and nothing is retried, so that a test sees what really happened.
 */
import http from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'

/** Longer than anything the house may take: a write is decided within 250 ms, a probe within 1 s. */
const answerDeadlineMs = 10_000

/** A starved machine makes the house answer 503 where it promises to; the test has time. */
const busyDeadlineMs = 30_000
const busyPauseMs = 100

export interface Answer {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly text: string
  /** Parsed when it is JSON; undefined otherwise. */
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into answers whose shape other tests hold to the contract
  readonly body: any
  readonly durationMs: number
}

export interface RequestOptions {
  readonly body?: unknown
  /** Instead of `body`: these very bytes. */
  readonly raw?: string | Buffer
  readonly headers?: Readonly<Record<string, string>>
  readonly timeoutMs?: number
}

export interface HouseClient {
  readonly url: string
  /** @throws when there is no answer: refused, reset, too late. */
  request(method: string, path: string, options?: RequestOptions): Promise<Answer>
  get(path: string, options?: RequestOptions): Promise<Answer>
  post(path: string, body?: unknown, options?: RequestOptions): Promise<Answer>
  /** Like `request`, and throws unless the status is the expected one. */
  expect(status: number, method: string, path: string, body?: unknown): Promise<Answer>
  /** Like `expect`, and asks again while the house says 503, as its `Retry-After` invites to. */
  expectSoon(status: number, method: string, path: string, body?: unknown): Promise<Answer>
}

/** Connections of a killed house must not be tried again: the agent lives as long as one client. */
export function createClient(url: string, token: string | undefined): HouseClient {
  const { hostname, port } = new URL(url)
  const agent = new http.Agent({ keepAlive: true, maxSockets: 64 })
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` }

  const request: HouseClient['request'] = (method, path, options = {}) => {
    const json = options.raw === undefined && options.body !== undefined
    const payload = json ? JSON.stringify(options.body) : options.raw
    const headers: http.OutgoingHttpHeaders = {
      ...authorization,
      ...(json ? { 'content-type': 'application/json' } : {}),
      ...(payload === undefined ? {} : { 'content-length': Buffer.byteLength(payload) }),
      ...options.headers,
    }
    const startedMs = performance.now()
    const signal = AbortSignal.timeout(options.timeoutMs ?? answerDeadlineMs)
    return new Promise<Answer>((resolve, reject) => {
      const outgoing = http.request({ hostname, port, method, path, headers, agent, signal })
      outgoing.on('error', reject)
      outgoing.on('response', (incoming) => {
        const parts: Buffer[] = []
        incoming.on('data', (part: Buffer) => parts.push(part))
        incoming.on('error', reject)
        incoming.on('end', () => {
          if (!incoming.complete) {
            reject(new Error('The answer was cut off'))
            return
          }
          const text = Buffer.concat(parts).toString('utf8')
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            text,
            body: parsed(text, incoming.headers['content-type'] ?? ''),
            durationMs: performance.now() - startedMs,
          })
        })
      })
      outgoing.end(payload)
    })
  }

  const expect: HouseClient['expect'] = async (status, method, path, body) => {
    const answer = await request(method, path, { body })
    if (answer.status === status) return answer
    throw new Error(`${method} ${path}: expected ${status}, got ${answer.status}: ${answer.text}`)
  }

  return {
    url,
    request,
    get: (path, options) => request('GET', path, options),
    post: (path, body, options) => request('POST', path, { ...options, body }),
    expect,
    expectSoon: async (status, method, path, body) => {
      const endMs = performance.now() + busyDeadlineMs
      for (;;) {
        const answer = await request(method, path, { body })
        if (answer.status === status) return answer
        if (answer.status !== 503 || performance.now() > endMs) {
          const got = `${answer.status}: ${answer.text}`
          throw new Error(`${method} ${path}: expected ${status}, got ${got}`)
        }
        await delay(busyPauseMs)
      }
    },
  }
}

function parsed(text: string, contentType: string): unknown {
  if (!/json/.test(contentType)) return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export interface ServiceKey {
  readonly clientId: string
  readonly clientSecret: string
}

/** A real identity: a key made by the operator, traded for a token. */
export async function createIdentity(
  operator: HouseClient,
  service: string,
): Promise<ServiceKey & { readonly token: string }> {
  const { body } = await operator.expectSoon(201, 'POST', `/api/services/${service}/keys`)
  const key: ServiceKey = { clientId: body.clientId, clientSecret: body.clientSecret }
  return { ...key, token: await requestToken(operator.url, key) }
}

/** `audience` absent: for the API. */
export async function requestToken(
  url: string,
  key: ServiceKey,
  audience?: 'haus-gateway',
): Promise<string> {
  const answer = await createClient(url, undefined).expectSoon(200, 'POST', '/api/auth/token', {
    grant_type: 'client_credentials',
    client_id: key.clientId,
    client_secret: key.clientSecret,
    audience,
  })
  return answer.body.access_token
}

/** A busy house may answer 503 to what it writes after all, and 409 when it is sent again. */
export async function createCredential(
  operator: HouseClient,
  input: { readonly name: string; readonly data: object; readonly services: readonly string[] },
): Promise<{ readonly id: string }> {
  const endMs = performance.now() + busyDeadlineMs
  let maybeWritten = false
  for (;;) {
    const answer = await operator.request('POST', '/api/credentials/create', { body: input })
    if (answer.status === 201) return answer.body
    if (answer.status === 409 && maybeWritten) {
      const { body } = await operator.expect(200, 'GET', '/api/credentials')
      const found = body.items.find(({ name }: { name: string }) => name === input.name)
      if (found !== undefined) return found
    }
    if (answer.status !== 503 || performance.now() > endMs) {
      throw new Error(`${input.name} was not created: ${answer.status} ${answer.text}`)
    }
    maybeWritten ||= answer.body.code === 'write_outcome_unknown'
    await delay(busyPauseMs)
  }
}
