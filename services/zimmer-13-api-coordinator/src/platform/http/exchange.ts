/**
 * One request and its answer. Every answer of the house is written here, so that each has its
 * request id, its safe defaults and its line in the metrics, whether it comes from an operation,
 * from the front door (`admission.ts`) or from an accident.
 *
 * Answers are written to `node:http` directly: Fastify's reply pipeline would do nothing that is
 * needed here.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream'
import type { Readable } from 'node:stream'
import { HausError } from '@haus/contract'
import type { Clock } from '../clock/clock.ts'
import type { Random } from '../crypto/random.ts'
import type { Log } from '../log/log.ts'
import { asHausError, describeError, problemOf, tokenErrorOf } from './problem.ts'
import type { Refusal } from './problem.ts'
import { createRequestIds } from './request-ids.ts'

export interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** The operation id, `none` when the request did not get as far as one. */
  readonly operation: string
  readonly requestId: string
  readonly startedMs: number
}

export interface ExchangeOptions {
  readonly log: Log
  readonly clock: Clock
  readonly random: Random
  /** Called once for every answer, when its last byte is handed over; for a stream, when it ends. */
  readonly onRequestDone?: RequestDone
}

export type RequestDone = (
  operation: string,
  method: string,
  status: number,
  durationMs: number,
) => void

export interface Exchanges {
  begin(request: IncomingMessage, response: ServerResponse, operation: string): Exchange
  answer(exchange: Exchange, answer: WrittenAnswer): void
  stream(exchange: Exchange, answer: StreamedAnswer): void
  /** Any thrown value becomes a problem document; what is not a HausError is logged and not shown. */
  refuse(exchange: Exchange, error: unknown, shape?: RefusalShape): void
  /** From now on connections close with their answer, and open streams end. */
  drain(): void
  openStreams(): number
}

/** `pathless`: the path is what is wrong, so it is not repeated as `instance`. */
export type RefusalShape = 'problem' | 'pathless' | 'rfc6749'

export interface WrittenAnswer {
  readonly status: number
  readonly contentType: string | null
  readonly body: Buffer | string | null
  /** Names in lower case, here and wherever an answer is made. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Of the memory that it was made from. */
  readonly age?: Age | undefined
}

export interface Age {
  readonly index: number
  readonly ageMs: number
}

export interface StreamedAnswer {
  readonly status: number
  readonly contentType: string
  readonly stream: Readable
  readonly headers?: Readonly<Record<string, string>> | undefined
}

/** An unread body up to this size is read and dropped to keep the connection; beyond it, closing is cheaper. */
const discardMaxBytes = 64 * 1024

export function createExchanges(options: ExchangeOptions): Exchanges {
  const { log, clock, onRequestDone } = options
  const requestId = createRequestIds(options.random)
  const streams = new Set<Readable>()
  let draining = false

  /**
   * Names and values in turn, the form that Node writes without looking anything up: 1 to 2 µs less
   * than an object, of the 25 that it takes for a whole answer. An operation's own headers win.
   */
  function headOf(
    exchange: Exchange,
    contentType: string | null,
    own: Readonly<Record<string, string>> | undefined,
  ): string[] {
    const head: string[] = []
    put(head, own, 'cache-control', 'no-store')
    put(head, own, 'x-content-type-options', 'nosniff')
    put(head, own, 'x-request-id', exchange.requestId)
    if (contentType !== null) put(head, own, 'content-type', contentType)
    if (draining) put(head, own, 'connection', 'close')
    if (own !== undefined) {
      for (const name in own) head.push(name, own[name] ?? '')
    }
    return head
  }

  function done(exchange: Exchange, status: number): void {
    onRequestDone?.(
      exchange.operation,
      exchange.request.method ?? '',
      status,
      clock.monotonicMs() - exchange.startedMs,
    )
  }

  function writeRefusal(exchange: Exchange, refusal: Refusal): void {
    const { request, response } = exchange
    if (response.headersSent || response.destroyed) {
      // Half an answer cannot be taken back: a cut connection tells the client that it is not whole.
      response.destroy()
      done(exchange, refusal.status)
      return
    }
    const head = headOf(exchange, refusal.contentType, refusal.headers)
    head.push('content-length', String(refusal.body.length))
    if (!draining && leavesBodyUnread(request)) head.push('connection', 'close')
    response.writeHead(refusal.status, head)
    response.end(refusal.body)
    done(exchange, refusal.status)
  }

  return {
    begin(request, response, operation) {
      return {
        request,
        response,
        operation,
        requestId: requestId(request.headers['x-request-id']),
        startedMs: clock.monotonicMs(),
      }
    },

    answer(exchange, answer) {
      const { body } = answer
      const head = headOf(exchange, answer.contentType, answer.headers)
      if (answer.age !== undefined) {
        const { index, ageMs } = answer.age
        head.push('haus-index', String(index), 'haus-age-ms', String(ageMs))
      }
      if (body !== null) {
        const length = typeof body === 'string' ? Buffer.byteLength(body) : body.length
        head.push('content-length', String(length))
      }
      exchange.response.writeHead(answer.status, head)
      if (body === null) exchange.response.end()
      else exchange.response.end(body)
      if (onRequestDone !== undefined) done(exchange, answer.status)
    },

    stream(exchange, answer) {
      const { stream } = answer
      const { response } = exchange
      response.writeHead(answer.status, headOf(exchange, answer.contentType, answer.headers))
      response.flushHeaders()
      streams.add(stream)
      pipeline(stream, response, () => {
        streams.delete(stream)
        done(exchange, answer.status)
      })
      if (draining) stream.destroy()
    },

    refuse(exchange, thrown, shape = 'problem') {
      const error = asHausError(thrown)
      if (error.code === 'internal_error' || error.code === 'integrity_failed') {
        log.error(
          {
            requestId: exchange.requestId,
            operation: exchange.operation,
            code: error.code,
            error: describeError(error === thrown ? error : error.cause),
          },
          error.message,
        )
      }
      writeRefusal(
        exchange,
        shape === 'rfc6749'
          ? tokenErrorOf(error)
          : problemOf(error, {
              requestId: exchange.requestId,
              instance: shape === 'pathless' ? null : pathOf(exchange.request),
            }),
      )
    },

    drain() {
      draining = true
      const closing = new HausError('shutting_down', 'The house is closing.')
      for (const stream of streams) stream.destroy(closing)
    },

    openStreams: () => streams.size,
  }
}

function put(
  head: string[],
  own: Readonly<Record<string, string>> | undefined,
  name: string,
  value: string,
): void {
  if (own?.[name] === undefined) head.push(name, value)
}

export function pathOf(request: IncomingMessage): string {
  const target = request.url ?? '/'
  const queryAt = target.indexOf('?')
  return queryAt === -1 ? target : target.slice(0, queryAt)
}

/** True when the request announces a body, whether it has arrived or not. */
export function announcesBody(request: IncomingMessage): boolean {
  const length = request.headers['content-length']
  return (
    request.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0')
  )
}

function leavesBodyUnread(request: IncomingMessage): boolean {
  if (request.complete || !announcesBody(request)) return false
  // A client that waits for 100 and gets a refusal may or may not send the body: where the next
  // request begins is not known any more.
  if (request.headers['expect'] !== undefined) return true
  return !(Number(request.headers['content-length']) <= discardMaxBytes)
}

/** The peer's address; IPv4-mapped IPv6 shown as IPv4. */
export function sourceOf(request: IncomingMessage): string {
  const address = request.socket.remoteAddress ?? ''
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}
