/**
 * A service behind the gateway that is written in bytes: it keeps every byte that reached it, and
 * answers with whatever a test wants, good or broken. It frames requests strictly, so that a body
 * that the gateway framed wrongly shows as a fault and never as a lucky guess.
 */
import { once } from 'node:events'
import net from 'node:net'
import { resetConnection } from '../../services/zimmer-13-api-coordinator/src/testing/reset-connection.ts'

/** One request as it arrived; it grows until `complete`. */
export class Received {
  readonly head: string
  readonly method: string
  readonly target: string
  /** In order and in their own spelling. */
  readonly fields: readonly (readonly [name: string, value: string])[]
  /** Of the upstream, from 1: tells whether two requests shared a connection. */
  readonly connection: number
  complete = false
  /** Trailer lines after a chunked body. */
  readonly trailers: string[] = []
  readonly #parts: Buffer[] = []

  constructor(head: string, connection: number) {
    const [requestLine = '', ...lines] = head.split('\r\n')
    const [method = '', target = ''] = requestLine.split(' ')
    this.head = head
    this.method = method
    this.target = target
    this.connection = connection
    this.fields = lines.map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon), line.slice(colon + 1).trim()] as const
    })
  }

  /** All values of a field, whatever its spelling. */
  all(name: string): string[] {
    return this.fields.filter(([known]) => known.toLowerCase() === name).map(([, value]) => value)
  }

  add(part: Buffer): void {
    this.#parts.push(Buffer.from(part))
  }

  get body(): Buffer {
    return Buffer.concat(this.#parts)
  }
}

export interface Exchange {
  readonly received: Received
  readonly socket: net.Socket
  /** When the request is there in full; never settles when it is cut off. */
  readonly whole: Promise<void>
}

/** Called as soon as a head is there; the body may still be on its way. */
export type Behaviour = (exchange: Exchange) => void | Promise<void>

/** A plain answer with these fields and a length. */
export function answerWith(
  body: string | Buffer = 'ok',
  lines = '',
  statusLine = 'HTTP/1.1 200 OK',
): Behaviour {
  return async ({ socket, whole }) => {
    await whole
    const bytes = Buffer.from(body)
    const head = `${statusLine}\r\nContent-Length: ${bytes.length}\r\n${lines}\r\n`
    socket.write(Buffer.concat([Buffer.from(head), bytes]))
  }
}

export class RawUpstream implements AsyncDisposable {
  /** Requests whose head has arrived. Connections without a byte are checks and leave no trace. */
  readonly requests: Received[] = []
  /** What could not be framed. */
  readonly faults: string[] = []
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()
  #behaviour: Behaviour = answerWith()
  #connections = 0

  private constructor(server: net.Server) {
    this.#server = server
    server.on('connection', (socket) => this.#take(socket))
  }

  static async listen(host = '127.0.0.1', port = 0): Promise<RawUpstream> {
    const server = net.createServer({ noDelay: true })
    server.listen(port, host)
    await once(server, 'listening')
    return new RawUpstream(server)
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port
  }

  /** Every open connection. */
  get sockets(): ReadonlySet<net.Socket> {
    return this.#sockets
  }

  /** From now on; forgets what came before. */
  behave(behaviour: Behaviour): void {
    this.#behaviour = behaviour
    this.requests.length = 0
    this.faults.length = 0
  }

  get heads(): string[] {
    return this.requests.map(({ head }) => head)
  }

  /** Of requests that arrived in full. */
  get wholeHeads(): string[] {
    return this.requests.filter(({ complete }) => complete).map(({ head }) => head)
  }

  /** The one request since `behave`. @throws when there were more or none. */
  get only(): Received {
    const [request] = this.requests
    if (request === undefined || this.requests.length !== 1 || this.faults.length > 0) {
      const { heads, faults } = this
      throw new Error(`not one request: ${JSON.stringify({ heads, faults })}`)
    }
    return request
  }

  /** Refuses connections from now on, and ends those that are open. */
  async close(): Promise<void> {
    if (!this.#server.listening) return
    const closed = once(this.#server, 'close')
    this.#server.close()
    for (const socket of this.#sockets) resetConnection(socket)
    await closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #take(socket: net.Socket): void {
    const number = (this.#connections += 1)
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => this.#sockets.delete(socket))
    const framer = new RequestFramer({
      head: (received, whole) => {
        this.requests.push(received)
        void this.#behaviour({ received, socket, whole })
      },
      fault: (reason) => {
        this.faults.push(reason)
        socket.destroy()
      },
      connection: number,
    })
    socket.on('data', (chunk: Buffer) => framer.push(chunk))
  }
}

interface FramerEvents {
  readonly connection: number
  head(received: Received, whole: Promise<void>): void
  fault(reason: string): void
}

type State = 'head' | 'sized' | 'chunk-size' | 'chunk' | 'chunk-end' | 'trailers' | 'broken'

class RequestFramer {
  readonly #events: FramerEvents
  #bytes: Buffer = Buffer.alloc(0)
  #state: State = 'head'
  #remaining = 0
  #received: Received | undefined
  #becomeWhole: () => void = () => {}

  constructor(events: FramerEvents) {
    this.#events = events
  }

  push(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk])
    while (this.#state !== 'broken' && this.#step());
  }

  /** False when it needs more bytes. */
  #step(): boolean {
    switch (this.#state) {
      case 'head': {
        const head = this.#line('\r\n\r\n')
        if (head === undefined) return false
        this.#begin(head)
        return true
      }
      case 'sized':
      case 'chunk': {
        if (this.#bytes.length === 0) return false
        const part = this.#bytes.subarray(0, this.#remaining)
        this.#bytes = this.#bytes.subarray(part.length)
        this.#remaining -= part.length
        this.#received?.add(part)
        if (this.#remaining > 0) return false
        if (this.#state === 'sized') this.#finish()
        else this.#state = 'chunk-end'
        return true
      }
      case 'chunk-end': {
        const rest = this.#line('\r\n')
        if (rest === undefined) return false
        if (rest !== '') return this.#break(`a chunk that is too long: ${JSON.stringify(rest)}`)
        this.#state = 'chunk-size'
        return true
      }
      case 'chunk-size': {
        const line = this.#line('\r\n')
        if (line === undefined) return false
        if (!/^[0-9a-fA-F]+$/.test(line)) return this.#break(`chunk size ${JSON.stringify(line)}`)
        this.#remaining = Number.parseInt(line, 16)
        this.#state = this.#remaining === 0 ? 'trailers' : 'chunk'
        return true
      }
      case 'trailers': {
        const line = this.#line('\r\n')
        if (line === undefined) return false
        if (line === '') this.#finish()
        else this.#received?.trailers.push(line)
        return true
      }
      case 'broken':
        return false
    }
  }

  #begin(head: string): void {
    const { promise: whole, resolve } = Promise.withResolvers<void>()
    const received = new Received(head, this.#events.connection)
    this.#received = received
    this.#becomeWhole = resolve
    const lengths = received.all('content-length')
    const codings = received.all('transfer-encoding')
    if (lengths.length + codings.length > 1) {
      this.#break(`more than one framing: ${JSON.stringify(head)}`)
      return
    }
    if (codings[0] === 'chunked') this.#state = 'chunk-size'
    else if (codings.length > 0) {
      this.#break(`transfer coding ${codings[0]}`)
      return
    } else {
      this.#remaining = Number(lengths[0] ?? 0)
      this.#state = 'sized'
    }
    this.#events.head(received, whole)
    if (this.#state === 'sized' && this.#remaining === 0) this.#finish()
  }

  #finish(): void {
    this.#state = 'head'
    if (this.#received) this.#received.complete = true
    this.#becomeWhole()
  }

  #break(reason: string): false {
    this.#state = 'broken'
    this.#events.fault(reason)
    return false
  }

  /** Up to `end`, which is taken away. */
  #line(end: string): string | undefined {
    const place = this.#bytes.indexOf(end, 0, 'latin1')
    if (place === -1) return undefined
    const line = this.#bytes.toString('latin1', 0, place)
    this.#bytes = this.#bytes.subarray(place + end.length)
    return line
  }
}
