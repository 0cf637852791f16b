/** The data plane as a whole: doors, state, timers; what the worker's main starts and stops. */
import { timingSafeEqual } from 'node:crypto'
import type { Server } from 'node:http'
import type { MessagePort } from 'node:worker_threads'
import { receiveMessageOnPort } from 'node:worker_threads'
import type { Clock } from '../../../platform/clock/clock.ts'
import { createAccessTokenVerifier } from '../../../platform/crypto/access-token-verifier.ts'
import type { Random } from '../../../platform/crypto/random.ts'
import { createRequestIds } from '../../../platform/http/request-ids.ts'
import type {
  FromWorker,
  GatewayCounts,
  GatewayStatus,
  ServiceStatus,
  ToWorker,
  WorkerSettings,
} from '../messages.ts'
import { createAuthentication } from './authentication.ts'
import { House } from './house.ts'
import { InFlight } from './in-flight.ts'
import type { Instance } from './instance.ts'
import { createListener, listen } from './listener.ts'
import type { Plane } from './plane.ts'
import { createHostReader } from './request-host.ts'
import { logFlushMs, RequestLog } from './request-log.ts'
import type { Service } from './service.ts'

const sweepMs = 500
/** A sweep that is later than this says more of this machine than of anybody else. */
const stallMs = 1_000
const countsEveryMs = 1_000
/** Traces in hex, made so many at a time: one call for random bytes costs as much as a small request's parse. */
const tracesPerFill = 256
const traceBytes = 24

export interface DataPlane {
  /** @throws what `listen` throws. */
  open(): Promise<void>
}

export function createDataPlane(options: {
  readonly settings: WorkerSettings
  readonly port: MessagePort
  readonly clock: Clock
  readonly random: Random
}): DataPlane {
  const { settings, port, clock, random } = options
  const house = new House({ allow: settings.advertiseAllow, nowMs: () => clock.monotonicMs() })
  const authentication = createAuthentication({
    verifier: createAccessTokenVerifier({ issuer: settings.issuer, jwk: settings.jwk, clock }),
    keyId: settings.jwk.kid,
    tokenTtlSeconds: settings.tokenTtlSeconds,
    clock,
  })
  const log = new RequestLog(
    settings.logRequests ? (lines, count) => tell({ kind: 'log', lines, count }) : null,
  )
  const raised = new Int32Array(settings.changes)
  const relaySecret = Buffer.from(settings.relaySecret)
  const servers: Server[] = []
  let connections = 0
  let seen = 0
  let traces = ''
  let tracesLeft = 0

  const plane: Plane = {
    clock,
    unit: () => random.unit(),
    house,
    authentication,
    log,
    scheme: settings.tls === null ? 'http' : 'https',
    domain: settings.domain,
    bodyMaxBytes: settings.bodyMaxBytes,
    hostOf: createHostReader(settings.domain, settings.hosts),
    requestIdOf: createRequestIds(random),
    traceHex() {
      if (tracesLeft === 0) {
        traces = random.bytes(traceBytes * tracesPerFill).toString('hex')
        tracesLeft = tracesPerFill
      }
      tracesLeft -= 1
      return traces.slice(tracesLeft * 2 * traceBytes, (tracesLeft + 1) * 2 * traceBytes)
    },
    isRelaySecret(given) {
      const bytes = Buffer.from(given ?? '')
      return bytes.length === relaySecret.length && timingSafeEqual(bytes, relaySecret)
    },
    catchUp() {
      if (Atomics.load(raised, 0) === seen) return
      readMail()
    },
    report(instance: Instance, reason: string) {
      if (!instance.withhold(clock.monotonicMs())) return
      tell({
        kind: 'evidence',
        id: instance.id,
        incarnation: instance.incarnation,
        reason,
      })
    },
    exchanges: new InFlight(),
    refused: [0, 0, 0, 0, 0],
    draining: false,
  }

  function tell(message: FromWorker): void {
    port.postMessage(message)
  }

  /** Everything that has been sent so far, before the loop would come to it. */
  function readMail(): void {
    seen = Atomics.load(raised, 0)
    for (;;) {
      const mail: { message: ToWorker } | undefined = receiveMessageOnPort(port)
      if (mail === undefined) return
      take(mail.message)
    }
  }

  function take(message: ToWorker): void {
    switch (message.kind) {
      case 'services':
        house.takeServices(message.services, message.index)
        break
      case 'updates':
        house.takeUpdates(message.updates, message.index)
        break
      case 'routes':
        house.takeRoutes(message.routes)
        break
      case 'keys':
        authentication.learn(message.changes, message.loaded)
        break
      case 'listeners':
        house.takeListeners(message.listeners)
        break
      case 'status':
        tell({ kind: 'status', question: message.question, status: statusOf(message.service) })
        break
      case 'written':
        log.written(message.chars)
        break
      case 'drain':
        drain(message.deadlineMs)
        break
    }
  }

  function statusOf(name: string | null): GatewayStatus {
    const nowMs = clock.monotonicMs()
    const one = name === null ? null : (house.service(name) ?? null)
    const services = name === null ? [...house.services()] : one === null ? [] : [one]
    return {
      connections,
      inFlight: plane.exchanges.size,
      routes: house.routes.count,
      index: house.index,
      services: services.map((service) => serviceStatus(service, nowMs)),
    }
  }

  function countsOf(): GatewayCounts {
    return {
      connections,
      refused: plane.refused,
      linesLost: log.lost,
      services: [...house.services()].flatMap((service) => {
        const { counts, name, active, instances } = service
        if (counts.requests === 0 && active === 0) return []
        const open = instances.filter(({ breaker }) => breaker.state === 'open').length
        return {
          service: name,
          upstream: counts.upstream,
          gateway: counts.gateway,
          retries: counts.retries,
          ejections: counts.ejections,
          requestBytes: counts.requestBytes,
          answerBytes: counts.answerBytes,
          durations: counts.durations,
          durationSumMs: counts.durationSumMs,
          active,
          openBreakers: open,
        }
      }),
    }
  }

  function every(intervalMs: number, task: () => void): void {
    clock.after(intervalMs, () => {
      task()
      every(intervalMs, task)
    })
  }

  function drain(deadlineMs: number): void {
    plane.draining = true
    clock.after(deadlineMs, () => {
      for (const server of servers) server.closeAllConnections()
    })
    void Promise.all(
      servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))),
    ).then(() => {
      log.flush()
      tell({ kind: 'counts', counts: countsOf() })
      tell({ kind: 'drained' })
    })
  }

  return {
    async open() {
      port.on('message', take)
      const door = createListener(plane, settings.tls, false)
      const { host, port: wanted } = settings.address
      door.on('connection', (socket) => {
        connections += 1
        socket.on('close', () => {
          connections -= 1
        })
      })
      // What has been sent before the door opens is known when it does.
      readMail()
      const bound = await listen(door, host, wanted)
      servers.push(door)
      const relay = createListener(plane, null, true)
      const relayBound = await listen(relay, '127.0.0.1', 0)
      servers.push(relay)
      let sweptMs = clock.monotonicMs()
      every(sweepMs, () => {
        const nowMs = clock.monotonicMs()
        // This thread has stood still: what arrived meanwhile has not been read yet, and nobody is late.
        const stalled = nowMs - sweptMs > sweepMs + stallMs
        sweptMs = nowMs
        if (stalled) return
        for (const exchange of plane.exchanges) exchange.sweep(nowMs)
        for (const service of house.services()) service.sweep(nowMs)
      })
      every(countsEveryMs, () => tell({ kind: 'counts', counts: countsOf() }))
      every(logFlushMs, () => log.flush())
      const name = host.includes(':') ? `[${host}]` : host
      tell({
        kind: 'open',
        host: bound.address,
        port: bound.port,
        url: `${plane.scheme}://${name}:${bound.port}`,
        relayPort: relayBound.port,
      })
    },
  }
}

function serviceStatus(service: Service, nowMs: number): ServiceStatus {
  const { name, active, waiting, panic, counts, instances } = service
  const best = service.bestTier(nowMs, null)
  return {
    service: name,
    active,
    waiting: waiting.size,
    panic,
    requests: counts.requests,
    failures: (counts.gateway[4] ?? 0) + (counts.upstream[4] ?? 0),
    retries: counts.retries,
    instances: instances.map((instance) => {
      const { known, breaker, inFlight, connections, measured, withheldUntilMs } = instance
      const tier = instance.tier(nowMs)
      return {
        id: known.id,
        address: known.address,
        port: known.port,
        state: known.state,
        serves: tier !== null && tier === best && (breaker.state === 'closed' || panic),
        withheld: withheldUntilMs > nowMs,
        breaker: breaker.state,
        inFlight,
        connections: connections.idle,
        latencyMs: measured ? Math.round(instance.latencyMs(nowMs) * 100) / 100 : null,
      }
    }),
  }
}
