/**
 * Connections to one instance: each an undici client with one connection, kept in a stack, so that
 * the one used last is used next and the others grow cold and close.
 *
 * undici holds an idle connection back for a turn of the loop before it writes to it: bytes that
 * nobody asked for, and a FIN, are read first, and the connection is dropped. Node's own agent
 * hands such bytes to the next request as its answer. The version is pinned, and a test counts.
 */
import type { LookupFunction } from 'node:net'
import { isIP } from 'node:net'
import { buildConnector, Client } from 'undici'
import type { TrafficInstance } from '../messages.ts'

/** The rules of the registry, asked at every connect. */
export interface ConnectRules {
  refusal(ip: string, port: number): string | null
  lookupFor(port: number): LookupFunction
}

export class ConnectRefused extends Error {
  override readonly name = 'ConnectRefused'
}

/** A host that is there answers a connect in milliseconds. */
const connectTimeoutMs = 2_000
/** Below the 5 s after which Node's own servers close, so that we close first. */
const keepAliveMs = 4_000
const keepAliveMaxMs = 60_000
/** Off what a service says it keeps a connection for: the close must not meet our next request. */
const keepAliveMarginMs = 1_000
const answerHeadMaxBytes = 64 * 1024
/** Sent by undici as the name to verify; the connector puts the real one in its place. */
export const servernamePlaceholder = 'upstream.invalid'

export class ConnectionStack {
  readonly #options: Client.Options
  readonly #origin: string
  readonly #idle: Client[] = []
  readonly #all = new Set<Client>()
  #retired = false

  constructor(at: TrafficInstance, rules: ConnectRules) {
    const { address, port, scheme } = at
    const host = address.includes(':') ? `[${address}]` : address
    this.#origin = `${scheme === 'https' ? 'https' : 'http'}://${host}:${port}`
    this.#options = {
      connect: connectorTo(at, rules),
      pipelining: 1,
      keepAliveTimeout: keepAliveMs,
      keepAliveMaxTimeout: keepAliveMaxMs,
      keepAliveTimeoutThreshold: keepAliveMarginMs,
      maxHeaderSize: answerHeadMaxBytes,
      // Told by the sweep of the exchanges, one timer for all of them.
      headersTimeout: 0,
      bodyTimeout: 0,
      strictContentLength: true,
      allowH2: false,
    }
  }

  get idle(): number {
    return this.#idle.length
  }

  take(): Client {
    const kept = this.#idle.pop()
    if (kept !== undefined) return kept
    const client = new Client(this.#origin, this.#options)
    this.#all.add(client)
    client.on('disconnect', () => this.#lost(client))
    return client
  }

  giveBack(client: Client): void {
    if (this.#retired || client.destroyed) this.#drop(client)
    else this.#idle.push(client)
  }

  /** After an error: undici may still be at work in it, so that it is not used again in this turn. */
  discard(client: Client): void {
    queueMicrotask(() => this.#drop(client))
  }

  /** The instance is gone: what runs may finish, nothing new begins. */
  retire(): void {
    this.#retired = true
    for (const client of this.#idle.splice(0)) this.#drop(client)
  }

  #lost(client: Client): void {
    const place = this.#idle.lastIndexOf(client)
    if (place === -1) return
    this.#idle.splice(place, 1)
    this.#drop(client)
  }

  #drop(client: Client): void {
    if (!this.#all.delete(client)) return
    client.destroy().catch(() => {})
  }
}

function connectorTo(at: TrafficInstance, rules: ConnectRules): buildConnector.connector {
  const { address, port, scheme } = at
  const isAddress = isIP(address) !== 0
  const connect = buildConnector({
    timeout: connectTimeoutMs,
    allowH2: false,
    ...(isAddress ? {} : { lookup: rules.lookupFor(port) }),
  })
  return (options, callback) => {
    const why = isAddress ? rules.refusal(address, port) : null
    if (why !== null) {
      callback(new ConnectRefused(`${address} ${why}`), null)
      return
    }
    const servername = scheme === 'https' && !isAddress ? address : undefined
    const { servername: _placeholder, ...rest } = options
    // The socket is handed to the callback; undici's own types promise no return value.
    connect(servername === undefined ? rest : { ...rest, servername }, callback)
  }
}
