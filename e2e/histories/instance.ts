/**
 * One instance of a history: a small HTTP server that can die, be cut off, fall silent for a
 * moment and come back, and that keeps its lease while it lives.
 */
import { once } from 'node:events'
import http from 'node:http'
import type net from 'node:net'
import { resetConnection } from '../../services/zimmer-13-api-coordinator/src/testing/reset-connection.ts'
import type { HouseClient } from '../client.ts'

/** Often, so that a history of seconds holds many; the house asks for one in 10 s. */
const heartbeatMs = 500
/** Another process may have taken a port that was free for a moment. */
const listenAttempts = 20

export type Condition =
  /** Answers. */
  | 'up'
  /** Never started, deregistered, or killed. */
  | 'down'
  /** Every connection is reset, and no heartbeat gets through. */
  | 'cut'
  /** Nothing is answered for a moment; afterwards everything is. */
  | 'silent'

export class HistoryInstance {
  readonly service: string
  readonly #api: HouseClient
  condition: Condition = 'down'
  /** Of the last registration. */
  id = ''
  #incarnation = 0
  #port = 0
  #server: http.Server | undefined
  readonly #sockets = new Set<net.Socket>()
  #held: (() => void)[] = []
  #beating: NodeJS.Timeout | undefined
  /** Heartbeats are lost, and nothing else. */
  muted = false

  constructor(service: string, api: HouseClient) {
    this.service = service
    this.#api = api
  }

  async start(): Promise<void> {
    await this.#listen()
    const { body } = await this.#api.expectSoon(201, 'POST', '/api/services/register', {
      name: this.service,
      version: '1.0.0',
      address: '127.0.0.1',
      port: this.#port,
      // A connection alone proves little of one that is cut off.
      healthEndpoint: '/up',
    })
    this.id = body.instanceId
    this.#incarnation = body.incarnation
    // Not before: a registration that is sent again begins anew, and is no fault of anybody.
    this.condition = 'up'
    this.#beating = setInterval(() => void this.#beat(), heartbeatMs)
  }

  /** As a service should: it says so first, answers a little longer, and closes. */
  async stop(lastAnswers: () => Promise<void>): Promise<void> {
    clearInterval(this.#beating)
    await this.#api.expectSoon(204, 'DELETE', `/api/services/${this.service}/instances/${this.id}`)
    this.condition = 'down'
    await lastAnswers()
    await this.#close((socket) => socket.destroy())
  }

  /** As the network sees a `kill -9`: connections end or are reset, and new ones are refused. */
  async kill(reset: boolean): Promise<void> {
    clearInterval(this.#beating)
    this.condition = 'down'
    await this.#close((socket) => (reset ? resetConnection(socket) : socket.destroy()))
  }

  cut(): void {
    this.condition = 'cut'
    for (const socket of this.#sockets) resetConnection(socket)
  }

  fallSilent(): void {
    this.condition = 'silent'
  }

  heal(): void {
    this.condition = 'up'
    for (const answer of this.#held.splice(0)) answer()
  }

  async dispose(): Promise<void> {
    clearInterval(this.#beating)
    if (this.#server) await this.#close((socket) => socket.destroy())
  }

  async #listen(): Promise<void> {
    const server = http.createServer((_, response) => {
      const answer = (): void => void response.end(this.id)
      if (this.condition === 'silent') this.#held.push(answer)
      else answer()
    })
    server.keepAliveTimeout = 60_000
    server.on('connection', (socket) => {
      if (this.condition === 'cut') {
        resetConnection(socket)
        return
      }
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    for (let attempt = 1; ; attempt += 1) {
      try {
        server.listen(this.#port, '127.0.0.1')
        await once(server, 'listening')
        break
      } catch (error) {
        if (attempt === listenAttempts) throw error
        this.#port = 0
      }
    }
    this.#port = (server.address() as net.AddressInfo).port
    this.#server = server
  }

  async #close(end: (socket: net.Socket) => void): Promise<void> {
    const server = this.#server
    this.#server = undefined
    if (!server) return
    const closed = once(server, 'close')
    server.close()
    for (const socket of this.#sockets) end(socket)
    this.#held = []
    await closed
  }

  async #beat(): Promise<void> {
    if (this.muted || this.condition === 'cut') return
    const path = `/api/services/${this.service}/instances/${this.id}/heartbeat`
    // Between a death and its news a heartbeat may be refused or lost: that is the history's point.
    await this.#api.post(path, { incarnation: this.#incarnation }).catch(() => undefined)
  }
}
