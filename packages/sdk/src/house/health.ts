/**
 * `/health/live` and `/health/ready` of the service. Live: the process answers. Ready: it takes
 * new work, so not while it drains, and only while every check passes.
 *
 * Whether the house can be reached is not part of it: a service that works without the house must
 * not be taken out because the house is away. Why a check failed stays here: the text of an error
 * may hold an address or a password.
 */
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { pause, systemClock, type Clock } from '../platform/clock.ts'

/** Resolves while what it looks at works. Must end when `signal` does. */
export type Check = (signal: AbortSignal) => unknown

export interface HealthOptions {
  /** By name, such as `database`. */
  readonly checks?: Readonly<Record<string, Check>>
  /** Of each check. Default: 1 s, well below the 5 s that the house waits. */
  readonly timeoutMs?: number
  readonly clock?: Clock
}

export interface Readiness {
  readonly status: 'ready' | 'not_ready' | 'draining'
  readonly checks: Readonly<Record<string, 'passed' | 'failed' | 'timeout'>>
}

export interface Health {
  /** Answers the two paths, and says whether it was one of them. */
  handle(request: http.IncomingMessage, response: http.ServerResponse): boolean
  /** A listener of its own, for probes of the platform. */
  listen(options: { readonly port: number; readonly host?: string }): Promise<HealthListener>
  ready(): Promise<Readiness>
  /** From now on not ready; there is no way back. */
  drain(): void
}

export interface HealthListener extends AsyncDisposable {
  readonly port: number
  close(): Promise<void>
}

export function createHealth(options: HealthOptions = {}): Health {
  const { checks = {}, timeoutMs = 1_000, clock = systemClock } = options
  /** One run of each at a time: a check that hangs is not started again and again. */
  const running = new Map<string, Promise<'passed' | 'failed'>>()
  let draining = false

  async function look(name: string, check: Check): Promise<'passed' | 'failed' | 'timeout'> {
    const controller = new AbortController()
    let run = running.get(name)
    if (!run) {
      run = (async () => check(controller.signal))()
        .then(
          () => 'passed' as const,
          () => 'failed' as const,
        )
        .finally(() => running.delete(name))
      running.set(name, run)
    }
    const waited = new AbortController()
    const late = pause(clock, timeoutMs, waited.signal).then(() => 'timeout' as const)
    const outcome = await Promise.race([run, late])
    waited.abort()
    controller.abort()
    return outcome
  }

  async function ready(): Promise<Readiness> {
    const outcomes = await Promise.all(
      Object.entries(checks).map(async ([name, check]) => [name, await look(name, check)] as const),
    )
    const allPass = outcomes.every(([, outcome]) => outcome === 'passed')
    const status = draining ? 'draining' : allPass ? 'ready' : 'not_ready'
    return { status, checks: Object.fromEntries(outcomes) }
  }

  function handle(request: http.IncomingMessage, response: http.ServerResponse): boolean {
    const [path] = (request.url ?? '').split('?')
    if (path !== '/health/live' && path !== '/health/ready') return false
    const answer = (status: number, body: unknown): void => {
      const text = JSON.stringify(body)
      response.writeHead(status, {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(text),
        'cache-control': 'no-store',
      })
      response.end(request.method === 'HEAD' ? undefined : text)
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD')
      answer(405, { status: 'method_not_allowed' })
    } else if (path === '/health/live') answer(200, { status: 'alive' })
    else {
      void ready().then((readiness) => answer(readiness.status === 'ready' ? 200 : 503, readiness))
    }
    return true
  }

  return {
    handle,
    ready,

    drain() {
      draining = true
    },

    async listen({ port, host = '127.0.0.1' }) {
      const server = http.createServer((request, response) => {
        if (!handle(request, response)) response.writeHead(404).end()
      })
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject).listen(port, host, () => resolve())
      })
      const close = (): Promise<void> =>
        new Promise((resolve) => {
          server.close(() => resolve())
          server.closeAllConnections()
        })
      return { port: portOf(server.address()), close, [Symbol.asyncDispose]: close }
    },
  }
}

function portOf(address: AddressInfo | string | null): number {
  return typeof address === 'object' && address !== null ? address.port : 0
}
