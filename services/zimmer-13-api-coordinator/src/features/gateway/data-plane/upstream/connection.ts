/**
 * One connection to an instance, with one request at a time on it.
 *
 *   connecting -> writing -> answered -> idle -> writing ...
 *   any        -> ended                 for good; whoever had a request on it is told once
 *
 * Bytes that nobody asked for, on an idle connection or behind an answer, end it: Node's own agent
 * hands them to the next request as its answer. All connections read into the same memory, since
 * what arrives is passed on or copied before the next is read.
 */
import type { Socket } from 'node:net'
import type { AnswerHead } from './answer-head.ts'
import { AnswerParser, type AnswerSink } from './answer-parser.ts'
import type { Connector } from './connect.ts'
import type { ConnectionStack } from './connection-stack.ts'
import { asError } from '../../../../platform/errors/thrown.ts'
import { UpstreamClosed } from './failed-attempt.ts'
import { Upload, type UploadTarget } from './upload.ts'

/** A request as it goes to one instance, and what becomes of it there. */
export interface Attempt {
  readonly method: string
  /** Path and query. */
  readonly path: string
  /** Null: that of the instance. */
  readonly host: string | null
  /** Names and values in turn, without those of the framing. */
  readonly headers: readonly string[]
  readonly body: Buffer | Upload | null
  /** False once nobody waits for it, or it is tried elsewhere. */
  awaits(connections: ConnectionStack): boolean
  onConnecting(connection: UpstreamConnection): void
  /** It is about to be written: from here on it may have been run. */
  onWriting(connection: UpstreamConnection): void
  onAnswerHead(head: AnswerHead): void
  /** `bytes` are lent for the call. */
  onAnswerData(bytes: Buffer): void
  onAnswerEnd(): void
  /** `answerBegan`: bytes of an answer had come. The connection has ended. */
  onAttemptFailed(error: Error, answerBegan: boolean): void
}

/** Off what a service says it keeps a connection for: the close must not meet our next request. */
const keepAliveMarginMs = 1_000
/** Below the 5 s after which Node's own servers close, so that we close first. */
const keepAliveMs = 4_000
const keepAliveMaxMs = 60_000
/** A body up to this size, either way, goes out in one text with its head; a copy of more costs more than a second write. */
export const joinedMaxBytes = 16 * 1024

const readBuffer = Buffer.allocUnsafeSlow(64 * 1024)
/** Methods whose meaning needs a body: without one they say so (RFC 9110 section 8.6). */
const withBody: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH'])
/** Node's parser lets none of these through; were it ever otherwise, a head would have lines of a stranger. */
const breaksLine = /[\0\r\n]/

export class UpstreamConnection implements AnswerSink, UploadTarget {
  /** Until then it may be used again. */
  idleUntilMs = 0
  readonly #connector: Connector
  readonly #socket: Socket
  readonly #parser = new AnswerParser()
  readonly #onLost: (connection: UpstreamConnection) => void
  #attempt: Attempt | null
  #ended = false
  #requestWhole = false
  #chunked = false
  #answerBegan = false
  #paused = false
  #keeps = false
  #keepsForMs: number | null = null

  /**
   * Opens it for `attempt`. `onLost`: told once, when it has ended.
   * @throws ConnectRefused
   */
  constructor(
    connector: Connector,
    attempt: Attempt,
    onLost: (connection: UpstreamConnection) => void,
  ) {
    this.#connector = connector
    this.#attempt = attempt
    this.#onLost = onLost
    const socket = connector.open({ buffer: readBuffer, callback: (size) => this.#read(size) })
    this.#socket = socket
    socket.on(connector.isTls ? 'secureConnect' : 'connect', () => this.#connected())
    socket.on('drain', () => this.#drained())
    socket.on('error', (error) => this.#end(error))
    socket.on('end', () => this.#closed())
    socket.on('close', () => this.#closed())
  }

  /** The answer is whole and nothing speaks against another request. */
  get reusable(): boolean {
    return !this.#ended && this.#attempt === null && this.#keeps && this.#requestWhole
  }

  /**
   * `nowMs` is when it was given back.
   * @returns false when the service keeps it for less than it takes to be sure
   */
  rest(nowMs: number): boolean {
    const forMs =
      this.#keepsForMs === null
        ? keepAliveMs
        : Math.min(this.#keepsForMs - keepAliveMarginMs, keepAliveMaxMs)
    this.idleUntilMs = nowMs + forMs
    return forMs > 0
  }

  send(attempt: Attempt): void {
    this.#attempt = attempt
    this.#requestWhole = false
    this.#answerBegan = false
    this.#keepsForMs = null
    attempt.onWriting(this)
    try {
      this.#write(attempt)
    } catch (error) {
      this.#end(asError(error))
    }
  }

  /** Nothing more is read; what has been read already still comes. */
  pause(): void {
    this.#paused = true
    this.#socket.pause()
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#socket.resume()
  }

  /** Ends it; the attempt hears no more. */
  destroy(): void {
    if (this.#ended) return
    this.#ended = true
    this.#attempt = null
    this.#socket.destroy()
    this.#onLost(this)
  }

  // Of the request.

  #connected(): void {
    if (this.#attempt !== null) this.send(this.#attempt)
  }

  #write(attempt: Attempt): void {
    const { method, path, headers, body } = attempt
    let text = `${method} ${path} HTTP/1.1\r\nhost: ${attempt.host ?? this.#connector.host}\r\nconnection: keep-alive\r\n`
    for (let place = 0; place < headers.length; place += 2) {
      const value = headers[place + 1] ?? ''
      if (breaksLine.test(value)) throw new InvalidHead()
      text += `${headers[place] ?? ''}: ${value}\r\n`
    }
    this.#parser.expect(this, method === 'HEAD')
    if (body instanceof Upload) {
      this.#chunked = body.length === null
      text += body.length === null ? 'transfer-encoding: chunked\r\n\r\n' : lengthLine(body.length)
      this.#socket.write(text, 'latin1')
      body.start(this)
      return
    }
    this.#requestWhole = true
    if (body !== null) text += lengthLine(body.length)
    else text += withBody.has(method) ? lengthLine(0) : '\r\n'
    if (body === null) this.#socket.write(text, 'latin1')
    else if (body.length <= joinedMaxBytes)
      this.#socket.write(text + body.toString('latin1'), 'latin1')
    else {
      this.#socket.cork()
      this.#socket.write(text, 'latin1')
      this.#socket.write(body)
      this.#socket.uncork()
    }
  }

  /** @returns false when it should wait for `Upload.resume` */
  writeBody(bytes: Buffer): boolean {
    const socket = this.#socket
    if (!this.#chunked) return socket.write(bytes)
    socket.cork()
    socket.write(`${bytes.length.toString(16)}\r\n`, 'latin1')
    socket.write(bytes)
    const goOn = socket.write('\r\n', 'latin1')
    socket.uncork()
    return goOn
  }

  endBody(): void {
    this.#requestWhole = true
    if (this.#chunked) this.#socket.write('0\r\n\r\n', 'latin1')
  }

  bodyFailed(error: Error): void {
    this.#end(error)
  }

  #drained(): void {
    const body = this.#attempt?.body
    if (body instanceof Upload) body.resume()
  }

  // Of the answer.

  #read(size: number): boolean {
    if (this.#ended) return true
    this.#answerBegan = true
    try {
      if (!this.#parser.read(readBuffer, size)) this.destroy()
    } catch (error) {
      this.#end(asError(error))
    }
    return true
  }

  onHead(head: AnswerHead): void {
    this.#keeps = head.keeps
    this.#keepsForMs = head.keepsForMs
    this.#attempt?.onAnswerHead(head)
  }

  onData(bytes: Buffer): void {
    this.#attempt?.onAnswerData(bytes)
  }

  onEnd(): void {
    const attempt = this.#attempt
    this.#attempt = null
    this.resume()
    attempt?.onAnswerEnd()
  }

  #closed(): void {
    if (this.#ended) return
    if (this.#answerBegan && this.#attempt !== null && this.#parser.end()) {
      this.destroy()
      return
    }
    this.#end(new UpstreamClosed())
  }

  #end(error: Error): void {
    const attempt = this.#attempt
    const began = this.#answerBegan
    this.destroy()
    attempt?.onAttemptFailed(error, began)
  }
}

/** A value would have made a line of its own. */
export class InvalidHead extends Error {
  override readonly name = 'InvalidHead'
}

function lengthLine(bytes: number): string {
  return `content-length: ${bytes}\r\n\r\n`
}
