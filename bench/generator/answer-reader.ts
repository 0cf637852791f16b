/**
 * Finds the ends of HTTP/1.1 answers in a stream of bytes: enough of RFC 9112 section 6 to know
 * where one answer stops, and nothing else. Bodies are kept only when somebody asks.
 *
 * It is strict where being lenient would hide a fault of the server: bytes after the end of an
 * answer, a bad chunk size, a body cut short are errors, never guesses.
 */

export interface AnswerHead {
  readonly status: number
  /** Lower-case names; only read when an answer is kept. */
  readonly text: string
}

export interface ReaderEvents {
  /** Says whether the body of this answer is wanted. */
  wantBody(status: number): boolean
  /** `reusable` is false when the server closes after this answer. */
  answer(head: AnswerHead, body: Buffer | null, reusable: boolean): void
}

export class FramingError extends Error {
  override readonly name = 'FramingError'
}

/** A head larger than this is not one that the house or its reference sends. */
const headMaxBytes = 16 * 1024
/** `chunk-size` with room for extensions that nobody sends. */
const chunkLineMaxBytes = 256
/** A kept body is a sample for a person to read, or one JSON document of a test. */
const bodyMaxBytes = 16 * 1024 * 1024

type State = 'head' | 'sized' | 'chunk-size' | 'chunk' | 'chunk-end' | 'trailers' | 'until-close'

const headEnd = Buffer.from('\r\n\r\n')
const lineEnd = Buffer.from('\r\n')
const none = Buffer.alloc(0)

export class AnswerReader {
  readonly #events: ReaderEvents
  #state: State = 'head'
  /** Bytes of a head or line that has not ended yet. */
  #pending: Buffer = none
  #remaining = 0
  #head: AnswerHead = { status: 0, text: '' }
  #reusable = true
  #parts: Buffer[] | null = null
  #keptBytes = 0
  #expecting = false
  #withoutBody = false
  #finished: { readonly head: AnswerHead; readonly body: Buffer | null } | null = null

  constructor(events: ReaderEvents) {
    this.#events = events
  }

  /** One request has been sent. `withoutBody`: it was a HEAD. */
  expect(withoutBody: boolean): void {
    this.#expecting = true
    this.#withoutBody = withoutBody
  }

  /** The bytes are only valid during the call: what is kept is copied. */
  push(bytes: Buffer): void {
    this.#read(bytes)
    this.#deliver()
  }

  #read(bytes: Buffer): void {
    let at = 0
    if (this.#pending.length > 0) {
      bytes = Buffer.concat([this.#pending, bytes])
      this.#pending = none
    }
    while (at < bytes.length) {
      // One request at a time: what follows an answer belongs to nothing.
      if (this.#finished !== null) throw new FramingError('bytes after the end of an answer')
      switch (this.#state) {
        case 'head': {
          if (!this.#expecting) throw new FramingError('bytes without a request')
          const end = bytes.indexOf(headEnd, at)
          if (end === -1) return this.#keep(bytes, at, headMaxBytes)
          this.#readHead(bytes.toString('latin1', at, end))
          at = end + 4
          break
        }
        case 'sized':
        case 'chunk': {
          const take = Math.min(this.#remaining, bytes.length - at)
          this.#collect(bytes, at, at + take)
          at += take
          this.#remaining -= take
          if (this.#remaining > 0) return
          if (this.#state === 'sized') this.#finish()
          else this.#state = 'chunk-end'
          break
        }
        case 'chunk-end': {
          if (bytes.length - at < 2) return this.#keep(bytes, at, chunkLineMaxBytes)
          if (bytes[at] !== 13 || bytes[at + 1] !== 10) throw new FramingError('chunk overrun')
          at += 2
          this.#state = 'chunk-size'
          break
        }
        case 'chunk-size': {
          const end = bytes.indexOf(lineEnd, at)
          if (end === -1) return this.#keep(bytes, at, chunkLineMaxBytes)
          const line = bytes.toString('latin1', at, end)
          const size = /^([0-9a-fA-F]{1,8})(?:[ \t]*;.*)?$/.exec(line)?.[1]
          if (size === undefined) throw new FramingError(`bad chunk size ${JSON.stringify(line)}`)
          at = end + 2
          this.#remaining = Number.parseInt(size, 16)
          this.#state = this.#remaining === 0 ? 'trailers' : 'chunk'
          break
        }
        case 'trailers': {
          const end = bytes.indexOf(lineEnd, at)
          if (end === -1) return this.#keep(bytes, at, headMaxBytes)
          const empty = end === at
          at = end + 2
          if (empty) this.#finish()
          break
        }
        case 'until-close': {
          this.#collect(bytes, at, bytes.length)
          return
        }
      }
    }
  }

  /** The server has closed its side. @throws FramingError when an answer was under way. */
  end(): void {
    if (this.#state === 'until-close') {
      this.#finish()
      return this.#deliver()
    }
    if (this.#state !== 'head' || this.#pending.length > 0) {
      throw new FramingError('closed in the middle of an answer')
    }
  }

  #keep(bytes: Buffer, from: number, limitBytes: number): void {
    if (bytes.length - from > limitBytes) throw new FramingError('a head or line without an end')
    this.#pending = Buffer.from(bytes.subarray(from))
  }

  #readHead(text: string): void {
    const status = Number(text.slice(9, 12))
    if (!/^HTTP\/1\.[01] [1-5]\d\d/.test(text)) {
      throw new FramingError(`not an answer: ${JSON.stringify(text.slice(0, 40))}`)
    }
    // An interim answer announces the real one.
    if (status < 200) return
    this.#head = { status, text }
    const bodiless = this.#withoutBody || status === 204 || status === 304
    this.#reusable =
      !/\r\nconnection:[ \t]*close/i.test(text) &&
      (text.charCodeAt(7) === 49 || /\r\nconnection:[ \t]*keep-alive/i.test(text))
    this.#keptBytes = 0
    this.#parts = !bodiless && this.#events.wantBody(status) ? [] : null
    if (bodiless) return this.#finish()
    if (/\r\ntransfer-encoding:[ \t]*chunked[ \t]*(\r\n|$)/i.test(text)) {
      this.#state = 'chunk-size'
      return
    }
    const length = /\r\ncontent-length:[ \t]*(\d{1,15})[ \t]*(\r\n|$)/i.exec(text)?.[1]
    if (length === undefined) {
      this.#reusable = false
      this.#state = 'until-close'
      return
    }
    this.#remaining = Number(length)
    this.#state = 'sized'
    if (this.#remaining === 0) this.#finish()
  }

  #collect(bytes: Buffer, from: number, to: number): void {
    if (this.#parts === null || to <= from) return
    this.#keptBytes += to - from
    if (this.#keptBytes > bodyMaxBytes) throw new FramingError('the body is larger than expected')
    this.#parts.push(Buffer.from(bytes.subarray(from, to)))
  }

  #finish(): void {
    const body = this.#parts === null ? null : Buffer.concat(this.#parts)
    this.#parts = null
    this.#state = 'head'
    this.#expecting = false
    this.#finished = { head: this.#head, body }
  }

  /** Last of all, since the next request may be sent from within. */
  #deliver(): void {
    const finished = this.#finished
    if (finished === null) return
    this.#finished = null
    this.#events.answer(finished.head, finished.body, this.#reusable)
  }
}
