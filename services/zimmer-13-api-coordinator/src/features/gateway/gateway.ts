/**
 * The gateway from the side of the main thread: starts its thread, tells it every change of what
 * it decides by, hears what it has seen. What it is told it keeps, so nothing here is on the way
 * of a request.
 */
import { Worker } from 'node:worker_threads'
import { gatewayBodyMaxBytes, HausError, tokenTtlSeconds } from '@haus/contract'
import type { Clock } from '../../platform/clock/clock.ts'
import type { PublicJwk } from '../../platform/crypto/access-token-verifier.ts'
import type { Random } from '../../platform/crypto/random.ts'
import type { ListenAddress, Listening } from '../../platform/http/index.ts'
import { writeLines, type Log } from '../../platform/log/log.ts'
import type { KeyChange } from '../identity/index.ts'
import type { Evidence } from '../health/index.ts'
import type { Traffic, TrafficUpdate } from '../registry/index.ts'
import type {
  FromWorker,
  GatewayCounts,
  GatewayStatus,
  Listener,
  ToWorker,
  WorkerSettings,
} from './messages.ts'
import type { RouteView } from './route-view.ts'

export interface GatewayOptions {
  readonly traffic: Traffic
  readonly keys: {
    liveKeys(): readonly KeyChange[]
    onKeys(listener: (changes: readonly KeyChange[], loaded: boolean) => void): void
  }
  readonly issuer: string
  readonly jwk: PublicJwk
  readonly routes: RouteView
  /** What the gateway saw of an instance: counts at once. */
  readonly report: (id: string, incarnation: number, evidence: Evidence) => void
  readonly domain: string
  readonly hosts: readonly string[]
  readonly advertiseAllow: readonly string[]
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** The thread has ended although nobody asked it to. */
  readonly onFatal: (error: Error) => void
}

export interface Gateway {
  /** After the ledger has loaded the views. @throws HausError address_in_use, address_unusable */
  open(address: ListenAddress, tls: { cert: Buffer; key: Buffer } | undefined): Promise<Listening>
  /** Where the gateway and its relay listen; empty before it is open. */
  readonly listeners: readonly Listener[]
  /** Where Haus itself listens, which no request may be sent to. */
  avoid(listeners: readonly Listener[]): void
  /** @throws HausError overloaded when its thread does not answer. */
  status(service: string | null): Promise<GatewayStatus>
  readonly counts: GatewayCounts | null
  readonly url: string
  readonly domain: string
  readonly relay: { readonly port: number; readonly secret: string } | null
  /** Takes nothing new, lets what runs finish, and ends. Safe to call twice. */
  close(deadlineMs: number): Promise<void>
}

/** A thread that does not answer for so long has something better to do. */
const statusTimeoutMs = 2_000
/** For the thread to load its modules on a busy machine. */
const openTimeoutMs = 30_000

export function createGateway(options: GatewayOptions): Gateway {
  const { traffic, keys, routes, clock, random, log } = options
  const changes = new SharedArrayBuffer(4)
  const raised = new Int32Array(changes)
  const secret = random.bytes(32).toString('base64url')
  const questions = new Map<number, (status: GatewayStatus) => void>()
  /** Ids of instances by service, not told yet. */
  const dirty = new Map<string, Set<string>>()
  let worker: Worker | null = null
  let opened: { readonly listening: Listening; readonly relayPort: number } | null = null
  let drained: (() => void) | null = null
  let closing: Promise<void> | null = null
  let counts: GatewayCounts | null = null
  let lastQuestion = 0

  /** What the data plane decides by has changed: it looks at the number with every request. */
  function change(message: ToWorker): void {
    if (worker === null) return
    worker.postMessage(message)
    Atomics.add(raised, 0, 1)
  }

  traffic.onChange((changed, loaded) => {
    if (worker === null) return
    if (loaded) {
      dirty.clear()
      tellAll()
      return
    }
    // One message for a whole batch of events, still before the writer is answered.
    if (dirty.size === 0) queueMicrotask(tellDirty)
    for (const [name, ids] of changed) {
      const known = dirty.get(name)
      if (known === undefined) dirty.set(name, new Set(ids))
      else for (const id of ids) known.add(id)
    }
  })
  keys.onKeys((keyChanges, loaded) => change({ kind: 'keys', loaded, changes: keyChanges }))
  routes.onChange(() => change({ kind: 'routes', routes: routes.all() }))

  function tellAll(): void {
    const services = [...traffic.services()]
    change({ kind: 'services', index: traffic.index, services })
  }

  function tellDirty(): void {
    const updates: TrafficUpdate[] = []
    for (const [name, ids] of dirty) {
      updates.push(traffic.update(name, ids))
    }
    dirty.clear()
    if (updates.length === 0) return
    change({ kind: 'updates', index: traffic.index, updates })
  }

  function hear(message: FromWorker): void {
    switch (message.kind) {
      case 'evidence':
        options.report(message.id, message.incarnation, {
          kind: 'doubted',
          reason: message.reason,
        })
        break
      case 'status':
        questions.get(message.question)?.(message.status)
        questions.delete(message.question)
        break
      case 'counts':
        counts = message.counts
        break
      case 'log':
        writeLines(log, message.lines)
        worker?.postMessage({
          kind: 'written',
          chars: message.lines.length,
        } satisfies ToWorker)
        break
      case 'drained':
        drained?.()
        break
      case 'open':
      case 'closed-door':
        break
    }
  }

  async function open(
    address: ListenAddress,
    tls: { cert: Buffer; key: Buffer } | undefined,
  ): Promise<Listening> {
    const settings: WorkerSettings = {
      address,
      tls: tls ?? null,
      domain: options.domain,
      hosts: options.hosts,
      advertiseAllow: options.advertiseAllow,
      issuer: options.issuer,
      jwk: options.jwk,
      tokenTtlSeconds,
      bodyMaxBytes: gatewayBodyMaxBytes,
      logRequests: log.isLevelEnabled('info'),
      relaySecret: secret,
      changes,
    }
    const thread = new Worker(new URL('./worker.ts', import.meta.url), { workerData: settings })
    worker = thread
    // Read by the thread before its door opens.
    tellAll()
    change({ kind: 'keys', loaded: true, changes: keys.liveKeys() })
    change({ kind: 'routes', routes: routes.all() })
    const answer = await firstWord(thread, clock)
    if (answer.kind === 'closed-door') {
      worker = null
      await thread.terminate()
      throw new HausError(answer.code, answer.detail)
    }
    const { host, port, url, relayPort } = answer
    opened = { listening: { host, port, url }, relayPort }
    thread.on('message', hear)
    thread.on('error', (error) => ended(error))
    thread.on('exit', () => ended(null))
    return opened.listening
  }

  function ended(cause: unknown): void {
    if (closing !== null || worker === null) return
    worker = null
    const why = cause instanceof Error ? `: ${cause.message}` : ''
    options.onFatal(
      new HausError(
        'internal_error',
        `the gateway’s thread has ended${why}; start the house again`,
        {
          cause,
        },
      ),
    )
  }

  async function close(deadlineMs: number): Promise<void> {
    const thread = worker
    if (thread === null) return
    const done = new Promise<void>((resolve) => {
      drained = resolve
    })
    thread.postMessage({ kind: 'drain', deadlineMs } satisfies ToWorker)
    let cancel = (): void => {}
    // Its own deadline cuts connections; a thread that hangs does not even come to that.
    const late = new Promise<void>((resolve) => {
      cancel = clock.after(deadlineMs + 500, resolve)
    })
    await Promise.race([done, late])
    cancel()
    worker = null
    await thread.terminate()
  }

  return {
    open,
    get listeners() {
      if (opened === null) return []
      const { listening, relayPort } = opened
      return [
        { address: listening.host, port: listening.port },
        { address: '127.0.0.1', port: relayPort },
      ]
    },
    avoid: (listeners) => change({ kind: 'listeners', listeners }),
    status(service) {
      const thread = worker
      return new Promise((resolve, reject) => {
        const question = (lastQuestion += 1)
        const cancel = clock.after(statusTimeoutMs, () => {
          questions.delete(question)
          reject(new HausError('overloaded', 'The gateway’s thread did not answer; try again.'))
        })
        questions.set(question, (status) => {
          cancel()
          resolve(status)
        })
        thread?.postMessage({ kind: 'status', question, service } satisfies ToWorker)
      })
    },
    get counts() {
      return counts
    },
    get url() {
      return opened?.listening.url ?? ''
    },
    domain: options.domain,
    get relay() {
      return opened === null ? null : { port: opened.relayPort, secret }
    },
    close: (deadlineMs) => (closing ??= close(deadlineMs)),
  }
}

type FirstWord = Extract<FromWorker, { kind: 'open' | 'closed-door' }>

function firstWord(thread: Worker, clock: Clock): Promise<FirstWord> {
  return new Promise((resolve, reject) => {
    const failed = (cause: unknown): void => {
      cancel()
      reject(new HausError('internal_error', 'the gateway’s thread could not start', { cause }))
    }
    const cancel = clock.after(openTimeoutMs, () => failed(new Error('it took too long')))
    thread.once('error', failed)
    const listen = (message: FromWorker): void => {
      if (message.kind !== 'open' && message.kind !== 'closed-door') return
      cancel()
      thread.off('error', failed)
      thread.off('message', listen)
      resolve(message)
    }
    thread.on('message', listen)
  })
}
