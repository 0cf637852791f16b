/**
 * A hundred services at once, as they behave in a house: each with an identity of its own
 * registers, renews its lease, finds others, reads its credentials and renews its token, one
 * request after the other without a pause. In a process of its own.
 *
 * Every answer is read and checked: a 200 with the wrong content is a failure too.
 */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { LatencyHistogram, type HistogramSnapshot } from './generator/latency-histogram.ts'
import { HttpConnection } from './generator/http-connection.ts'
import { loopbackAddress } from './generator/render-request.ts'

export const operations = ['discover', 'credentials', 'heartbeat', 'register', 'token'] as const
export type LoadOperation = (typeof operations)[number]

export interface LoadClient {
  readonly service: string
  readonly clientId: string
  readonly clientSecret: string
  readonly token: string
  /** What its credential must hold. */
  readonly password: string
}

export interface LoadPlan {
  readonly host: string
  readonly port: number
  readonly durationMs: number
  readonly answerTimeoutMs: number
  readonly clients: readonly LoadClient[]
  /** Where instances listen; the same for all, each on an address of its own. */
  readonly instancePort: number
}

export interface OperationCount {
  readonly count: number
  readonly failures: number
  readonly latency: HistogramSnapshot
}

export interface LoadReport {
  readonly operations: Readonly<Record<LoadOperation, OperationCount>>
  /** The first few, in words. */
  readonly failures: readonly string[]
  /** Reads of credentials that were answered: each must have its record in the audit. */
  readonly audited: number
}

export type FromClients =
  | { readonly type: 'progress'; readonly report: LoadReport }
  | { readonly type: 'result'; readonly report: LoadReport }

const reportIntervalMs = 5_000
const failuresShown = 20
const retryPauseMs = 50
const sweepIntervalMs = 100
/** Shares of the mix; what is left is discovery. */
const shares = { credentials: 0.2, heartbeat: 0.2, register: 0.08, token: 0.002 } as const
/** Beyond the plan: starting a process, and the last answers. */
const graceMs = 30_000

export function runLoadClients(
  plan: LoadPlan,
  onProgress: (report: LoadReport) => void,
): Promise<LoadReport> {
  const child = fork(fileURLToPath(import.meta.url), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  child.send(plan)
  return new Promise<LoadReport>((resolve, reject) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), plan.durationMs + graceMs)
    child.on('message', (message: FromClients) => {
      if (message.type === 'progress') onProgress(message.report)
      else resolve(message.report)
    })
    child.on('error', reject)
    child.on('exit', (code, signal) => {
      clearTimeout(timer)
      reject(new Error(`The clients ended with ${signal ?? code}`))
    })
  })
}

interface Tally {
  count: number
  failures: number
  latency: LatencyHistogram
}

async function work(plan: LoadPlan, tell: (message: FromClients) => void): Promise<void> {
  const tallies = new Map<LoadOperation, Tally>(
    operations.map((name) => [name, { count: 0, failures: 0, latency: new LatencyHistogram() }]),
  )
  const failures: string[] = []
  let audited = 0
  const reportNow = (): LoadReport => ({
    operations: Object.fromEntries(
      [...tallies].map(([name, { count, failures: failed, latency }]) => [
        name,
        { count, failures: failed, latency: latency.snapshot() },
      ]),
    ) as LoadReport['operations'],
    failures,
    audited,
  })
  const endMs = performance.now() + plan.durationMs
  const timer = setInterval(() => tell({ type: 'progress', report: reportNow() }), reportIntervalMs)
  const callers = plan.clients.map((_, place) => new Caller(plan, place))
  const sweep = setInterval(() => {
    for (const caller of callers) caller.abortIfLate()
  }, sweepIntervalMs)

  await Promise.all(
    callers.map(async (caller) => {
      while (performance.now() < endMs) {
        const operation = caller.next()
        const startedMs = performance.now()
        const fault = await caller.run(operation)
        const tally = tallies.get(operation)
        if (tally === undefined) throw new Error('unreachable: every operation has its tally')
        tally.count += 1
        tally.latency.recordMs(performance.now() - startedMs)
        if (fault === null) {
          if (operation === 'credentials') audited += 1
          continue
        }
        tally.failures += 1
        if (failures.length < failuresShown) failures.push(`${operation}: ${fault}`)
        await new Promise((resolve) => setTimeout(resolve, retryPauseMs))
      }
      caller.close()
    }),
  )
  clearInterval(timer)
  clearInterval(sweep)
  tell({ type: 'result', report: reportNow() })
}

interface Reply {
  readonly status: number
  readonly text: string
}

class Caller {
  readonly #plan: LoadPlan
  readonly #place: number
  readonly #client: LoadClient
  readonly #address: string
  readonly #connection: HttpConnection
  #settle: ((reply: Reply | string) => void) | null = null
  #token: string
  #instance: { id: string; incarnation: number } | null = null
  /** Null after a registration that failed: it may have counted all the same. */
  #nextIncarnation: number | null = 1

  constructor(plan: LoadPlan, place: number) {
    const client = plan.clients[place]
    if (client === undefined) throw new Error(`There is no client ${place}`)
    this.#plan = plan
    this.#place = place
    this.#client = client
    this.#token = client.token
    this.#address = loopbackAddress(place)
    this.#connection = new HttpConnection(plan, {
      wantBody: () => true,
      answered: (_, status, body) => this.#settle?.({ status, text: body?.toString() ?? '' }),
      failed: (_, reason) => this.#settle?.(reason),
    })
  }

  /** The first thing a service does is register. */
  next(): LoadOperation {
    if (this.#instance === null) return 'register'
    let chance = Math.random()
    for (const [operation, share] of Object.entries(shares) as [LoadOperation, number][]) {
      chance -= share
      if (chance < 0) return operation
    }
    return 'discover'
  }

  /** Null when all is well; what went wrong otherwise. */
  async run(operation: LoadOperation): Promise<string | null> {
    const { service, password } = this.#client
    switch (operation) {
      case 'discover': {
        const { clients } = this.#plan
        const wanted = clients[Math.floor(Math.random() * clients.length)]?.service ?? service
        // Others may not have come to register yet: that is an answer, too.
        return this.#ask('GET', `/api/discover?service=${wanted}`, undefined, [200, 404], (body) =>
          body['service'] === undefined || body['service'] === wanted
            ? null
            : `asked for ${wanted}, got ${JSON.stringify(body['service'])}`,
        )
      }
      case 'credentials':
        return this.#ask('GET', `/api/credentials/service/${service}`, undefined, [200], (body) =>
          JSON.stringify(body['credentials']).includes(password) ? null : 'the wrong credential',
        )
      case 'heartbeat': {
        const { id, incarnation } = this.#instance ?? { id: '', incarnation: 1 }
        const path = `/api/services/${service}/instances/${id}/heartbeat`
        return this.#ask('POST', path, { incarnation, load: 0.5 }, [200], (body) =>
          typeof body['state'] === 'string' ? null : 'a heartbeat without a state',
        )
      }
      case 'register': {
        const registration = {
          name: service,
          version: '1.0.0',
          address: this.#address,
          port: this.#plan.instancePort,
        }
        return this.#ask('POST', '/api/services/register', registration, [201], (body) => {
          const incarnation = Number(body['incarnation'])
          const expected = this.#nextIncarnation ?? incarnation
          this.#instance = { id: String(body['instanceId']), incarnation }
          this.#nextIncarnation = incarnation + 1
          return incarnation === expected ? null : `incarnation ${incarnation}, not ${expected}`
        }).then((fault) => {
          if (fault !== null) this.#nextIncarnation = null
          return fault
        })
      }
      case 'token': {
        const { clientId, clientSecret } = this.#client
        const request = {
          grant_type: 'client_credentials',
          client_id: clientId,
          client_secret: clientSecret,
        }
        return this.#ask('POST', '/api/auth/token', request, [200], (body) => {
          this.#token = String(body['access_token'])
          return this.#token.split('.').length === 3 ? null : 'not a token'
        })
      }
    }
  }

  abortIfLate(): void {
    const { busy, sentMs } = this.#connection
    if (busy && performance.now() - sentMs > this.#plan.answerTimeoutMs) {
      this.#connection.abort('timeout')
    }
  }

  close(): void {
    this.#connection.close()
  }

  async #ask(
    method: string,
    path: string,
    body: unknown,
    statuses: readonly number[],
    check: (body: Record<string, unknown>) => string | null,
  ): Promise<string | null> {
    const reply = await this.#send(method, path, body)
    if (typeof reply === 'string') return reply
    const { status, text } = reply
    if (!statuses.includes(status)) return `status ${status}: ${text.slice(0, 300)}`
    try {
      return check(JSON.parse(text) as Record<string, unknown>)
    } catch {
      return `client ${this.#place} got what is not JSON: ${text.slice(0, 100)}`
    }
  }

  #send(method: string, path: string, body: unknown): Promise<Reply | string> {
    const payload = body === undefined ? '' : JSON.stringify(body)
    const { host, port } = this.#plan
    let head = `${method} ${path} HTTP/1.1\r\nHost: ${host}:${port}\r\n`
    if (path !== '/api/auth/token') head += `Authorization: Bearer ${this.#token}\r\n`
    if (body !== undefined) {
      head += `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(payload)}\r\n`
    }
    return new Promise((resolve) => {
      this.#settle = resolve
      this.#connection.sentMs = performance.now()
      this.#connection.send(Buffer.from(`${head}\r\n${payload}`), false)
    })
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.once('disconnect', () => process.exit(1))
  process.once('message', (plan: LoadPlan) => {
    const tell = (message: FromClients): void => {
      process.send?.(message, () => {
        if (message.type === 'result') process.exit(0)
      })
    }
    void work(plan, tell)
  })
}
