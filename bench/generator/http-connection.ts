/**
 * One keep-alive connection with one request in flight. It connects when it first sends, and again
 * after the server has closed it; a request is never sent twice, so a failure stays visible.
 */
import net from 'node:net'
import { AnswerReader, FramingError } from './answer-reader.ts'

export interface ConnectionEvents {
  wantBody(status: number): boolean
  answered(connection: HttpConnection, status: number, body: Buffer | null): void
  /** The request under way has no answer and will have none. */
  failed(connection: HttpConnection, reason: string): void
}

/** Larger answers arrive in several reads; this is what one read can take. */
const readBufferBytes = 64 * 1024

export class HttpConnection {
  readonly #host: string
  readonly #port: number
  readonly #events: ConnectionEvents
  #socket: net.Socket | null = null
  #reader: AnswerReader
  #busy = false
  /** For the owner: which request is under way and when it fell due. */
  number = 0
  dueMs = 0
  sentMs = 0

  constructor(target: { host: string; port: number }, events: ConnectionEvents) {
    this.#host = target.host
    this.#port = target.port
    this.#events = events
    this.#reader = this.#newReader()
  }

  get busy(): boolean {
    return this.#busy
  }

  send(request: Buffer, withoutBody: boolean): void {
    this.#busy = true
    const socket = (this.#socket ??= this.#connect())
    this.#reader.expect(withoutBody)
    socket.write(request)
  }

  /** Ends the request under way, if any, as failed. */
  abort(reason: string): void {
    this.#drop()
    if (!this.#busy) return
    this.#busy = false
    this.#events.failed(this, reason)
  }

  close(): void {
    this.#busy = false
    this.#drop()
  }

  #newReader(): AnswerReader {
    return new AnswerReader({
      wantBody: (status) => this.#events.wantBody(status),
      answer: ({ status }, body, reusable) => {
        if (!reusable) this.#drop()
        this.#busy = false
        this.#events.answered(this, status, body)
      },
    })
  }

  #connect(): net.Socket {
    const reader = (this.#reader = this.#newReader())
    // A socket that was dropped may still speak; only the present one is listened to.
    const current = (): boolean => this.#socket === socket
    const socket = net.connect({
      host: this.#host,
      port: this.#port,
      noDelay: true,
      onread: {
        buffer: Buffer.alloc(readBufferBytes),
        callback: (size, buffer) => {
          if (!current()) return false
          try {
            reader.push(Buffer.from(buffer.buffer, buffer.byteOffset, size))
          } catch (error) {
            if (!(error instanceof FramingError)) throw error
            this.abort(`framing: ${error.message}`)
          }
          return true
        },
      },
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (current()) this.abort(`connection: ${error.code ?? error.message}`)
    })
    socket.on('end', () => {
      if (!current()) return
      try {
        reader.end()
        this.abort('connection: closed without an answer')
      } catch (error) {
        this.abort(error instanceof FramingError ? `framing: ${error.message}` : String(error))
      }
    })
    socket.on('close', () => {
      if (current()) this.abort('connection: closed without an answer')
    })
    return socket
  }

  #drop(): void {
    const socket = this.#socket
    this.#socket = null
    socket?.destroy()
  }
}
