/**
 * Answers of one connection, cut out of its bytes (RFC 9112 section 6). What it is given is lent: the
 * same memory holds the next bytes of any connection as soon as a call returns.
 *
 *   head          -> length | chunk-size | until-end | idle      by the head
 *   chunk-size    -> chunk | trailer
 *   chunk         -> chunk-end -> chunk-size
 *   trailer       -> idle
 *   length        -> idle
 *   until-end     -> the end of the connection
 *
 * A head of ordinary size arrives whole and costs one search and one text; only one that was split
 * is copied together. Nothing is repaired: what is not exactly HTTP is an `AnswerFault`.
 */
import { AnswerFault, readAnswerHead, type AnswerHead } from './answer-head.ts'

export interface AnswerSink {
  /** Also of interim answers, which have no body and no end. */
  onHead(head: AnswerHead): void
  /** `bytes` are lent: copy what is kept. */
  onData(bytes: Buffer): void
  onEnd(): void
}

export const headMaxBytes = 64 * 1024
/** The line before a chunk, and the trailer: nothing of either travels on. */
const lineMaxBytes = 4 * 1024
const trailerMaxBytes = 16 * 1024
/** 2^48 bytes in one chunk are enough for anybody, and are still whole numbers. */
const sizeDigitsMax = 12
/** 100 and 103 say something; a service that says nothing else is caught in a loop. */
const interimMax = 16

const headEnd = '\r\n\r\n'
const cr = 0x0d
const lf = 0x0a
const semicolon = 0x3b

type State =
  | 'idle'
  | 'head'
  | 'length'
  | 'chunk-size'
  | 'chunk-extension'
  | 'chunk-line-end'
  | 'chunk'
  | 'chunk-end'
  | 'chunk-end-lf'
  | 'trailer-line'
  | 'trailer'
  | 'trailer-lf'
  | 'last-lf'
  | 'until-end'

export class AnswerParser {
  #state: State = 'idle'
  #sink: AnswerSink | null = null
  #noBody = false
  #interim = 0
  /** Of the body or the chunk. */
  #left = 0
  #digits = 0
  /** Of the line before a chunk, or of the trailer. */
  #lineBytes = 0
  /** The beginning of a head whose rest has not come. */
  #split: Buffer | null = null
  #splitBytes = 0

  /** No answer is under way. */
  get idle(): boolean {
    return this.#state === 'idle'
  }

  /** What comes next is the answer to a request. `toHead`: to HEAD, so that it has no body. */
  expect(sink: AnswerSink, toHead: boolean): void {
    this.#sink = sink
    this.#noBody = toHead
    this.#interim = 0
    this.#state = 'head'
  }

  /**
   * Takes the first `size` bytes. True when nothing is left over behind the end of an answer: what
   * is would be an answer that nobody asked for.
   * @throws AnswerFault
   */
  read(bytes: Buffer, size: number): boolean {
    let at = 0
    while (at < size) {
      switch (this.#state) {
        case 'idle':
          return false
        case 'head':
          at = this.#readHead(bytes, at, size)
          break
        case 'length':
          at = this.#readBody(bytes, at, size)
          if (this.#left === 0) this.#finish()
          break
        case 'chunk':
          at = this.#readBody(bytes, at, size)
          if (this.#left === 0) this.#state = 'chunk-end'
          break
        case 'until-end':
          this.#sink?.onData(bytes.subarray(at, size))
          at = size
          break
        case 'chunk-size':
        case 'chunk-extension':
        case 'chunk-line-end':
        case 'chunk-end':
        case 'chunk-end-lf':
        case 'trailer-line':
        case 'trailer':
        case 'trailer-lf':
        case 'last-lf':
          this.#readFraming(bytes[at] ?? 0)
          at += 1
      }
    }
    return true
  }

  /**
   * The connection has ended.
   * @returns false when that was in the middle of an answer
   */
  end(): boolean {
    if (this.#state === 'until-end') this.#finish()
    return this.#state === 'idle'
  }

  #finish(): void {
    const sink = this.#sink
    this.#state = 'idle'
    this.#sink = null
    sink?.onEnd()
  }

  #readHead(bytes: Buffer, at: number, size: number): number {
    if (this.#split !== null) return this.#readSplitHead(this.#split, bytes, at, size)
    const end = bytes.indexOf(headEnd, at, 'latin1')
    if (end !== -1 && end + headEnd.length <= size) {
      this.#takeHead(bytes.toString('latin1', at, end))
      return end + headEnd.length
    }
    this.#split = Buffer.allocUnsafe(headMaxBytes)
    this.#splitBytes = 0
    return this.#readSplitHead(this.#split, bytes, at, size)
  }

  #readSplitHead(split: Buffer, bytes: Buffer, at: number, size: number): number {
    const before = this.#splitBytes
    const copied = bytes.copy(split, before, at, size)
    const filled = before + copied
    const from = Math.max(0, before - headEnd.length + 1)
    const end = split.subarray(0, filled).indexOf(headEnd, from, 'latin1')
    if (end === -1) {
      if (filled === headMaxBytes) throw new AnswerFault('the head is too large')
      this.#splitBytes = filled
      return size
    }
    this.#split = null
    this.#takeHead(split.toString('latin1', 0, end))
    return at + (end + headEnd.length - before)
  }

  #takeHead(text: string): void {
    const head = readAnswerHead(text)
    const { status } = head
    if (status === 101) throw new AnswerFault('it changed to a protocol that nobody asked for')
    if (status < 200) {
      this.#interim += 1
      if (this.#interim > interimMax)
        throw new AnswerFault('it says nothing but that it will answer')
      this.#sink?.onHead(head)
      return
    }
    // RFC 9112 section 6.3: these end with their head, whatever it says of a body.
    if (this.#noBody || status === 204 || status === 304) {
      this.#sink?.onHead(head)
      this.#finish()
      return
    }
    if (head.chunked) this.#startChunk()
    else if (head.contentLength === -1) this.#state = 'until-end'
    else {
      this.#state = 'length'
      this.#left = head.contentLength
    }
    this.#sink?.onHead(head)
    if (head.contentLength === 0) this.#finish()
  }

  #readBody(bytes: Buffer, at: number, size: number): number {
    const end = Math.min(size, at + this.#left)
    this.#left -= end - at
    this.#sink?.onData(bytes.subarray(at, end))
    return end
  }

  #startChunk(): void {
    this.#state = 'chunk-size'
    this.#left = 0
    this.#digits = 0
    this.#lineBytes = 0
  }

  /** One byte of what stands between chunks, and of the trailer. */
  #readFraming(byte: number): void {
    switch (this.#state) {
      case 'chunk-size':
        if (byte === cr || byte === semicolon) {
          if (this.#digits === 0) throw new AnswerFault('a chunk has no size')
          this.#state = byte === cr ? 'chunk-line-end' : 'chunk-extension'
          return
        }
        this.#digits += 1
        if (this.#digits > sizeDigitsMax) throw new AnswerFault('a chunk is too large')
        this.#left = this.#left * 16 + hexValue(byte)
        return
      case 'chunk-extension':
        if (byte === cr) this.#state = 'chunk-line-end'
        else this.#skip(byte, lineMaxBytes)
        return
      case 'chunk-line-end':
        must(byte === lf)
        this.#lineBytes = 0
        this.#state = this.#left === 0 ? 'trailer-line' : 'chunk'
        return
      case 'chunk-end':
        must(byte === cr)
        this.#state = 'chunk-end-lf'
        return
      case 'chunk-end-lf':
        must(byte === lf)
        this.#startChunk()
        return
      case 'trailer-line':
        if (byte === cr) this.#state = 'last-lf'
        else {
          this.#skip(byte, trailerMaxBytes)
          this.#state = 'trailer'
        }
        return
      case 'trailer':
        if (byte === cr) this.#state = 'trailer-lf'
        else this.#skip(byte, trailerMaxBytes)
        return
      case 'trailer-lf':
        must(byte === lf)
        this.#state = 'trailer-line'
        return
      case 'last-lf':
        // Of the empty line after the trailer.
        must(byte === lf)
        this.#finish()
        return
      case 'idle':
      case 'head':
      case 'length':
      case 'chunk':
      case 'until-end':
      // These are read in pieces, by `read`.
    }
  }

  #skip(byte: number, max: number): void {
    this.#lineBytes += 1
    must(this.#lineBytes <= max)
    must(byte === 0x09 || (byte >= 0x20 && byte !== 0x7f))
  }
}

function must(holds: boolean): void {
  if (!holds) throw new AnswerFault('its chunks are framed wrongly')
}

function hexValue(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const letter = byte | 0x20
  must(letter >= 0x61 && letter <= 0x66)
  return letter - 0x57
}
