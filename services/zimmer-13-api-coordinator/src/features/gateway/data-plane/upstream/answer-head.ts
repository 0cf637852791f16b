/**
 * The head of a service's answer: what its framing is, and which fields go on to the client: all
 * but those of the connection, in their order, every Set-Cookie apart, bytes above ASCII as they are.
 *
 * Whatever two programs could read differently is a fault (RFC 9112 sections 2.2, 5 and 6): the
 * gateway would frame one answer and its client two.
 */
import { answerField } from '../header-names.ts'

/** The instance did not speak HTTP; what the connection still holds is not read. */
export class AnswerFault extends Error {
  override readonly name = 'AnswerFault'
}

export interface AnswerHead {
  readonly status: number
  /** Names in lower case and values in turn, for `writeHead`. */
  readonly fields: string[]
  /** -1: not given. */
  readonly contentLength: number
  readonly chunked: boolean
  readonly isEventStream: boolean
  /** The instance keeps the connection after this answer. */
  readonly keeps: boolean
  /** How long it says it keeps the connection; null: it does not say. */
  readonly keepsForMs: number | null
}

const statusLine = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/
/** A control character, a CR without LF, an LF without CR. */
const illegal = /[^\t\r\n\x20-\x7e\x80-\xff]|\r(?!\n)|(?<!\r)\n/
/** More than 2^53 is no length that anybody has. */
const length = /^\d{1,15}$/
const timeout = /(?:^|[\s,;])timeout=(\d{1,6})(?:$|[\s,;])/i
/** Several services nominate nothing else, and then there is nothing to look for. */
const plainConnection: ReadonlySet<string> = new Set(['keep-alive', 'close'])

/**
 * `text`: the head without its empty line, as Latin-1.
 * @throws AnswerFault
 */
export function readAnswerHead(text: string): AnswerHead {
  if (illegal.test(text)) throw new AnswerFault('the head has bytes that no head may have')
  let end = lineEnd(text, 0)
  const start = statusLine.exec(text.slice(0, end))
  if (start === null) throw new AnswerFault('the first line is no status line of HTTP/1')
  const isOld = start[1] === '0'
  const status = Number(start[2])
  const fields: string[] = []
  let contentLength = -1
  let chunked = false
  let isEventStream = false
  let keepsForMs: number | null = null
  let connection: string | null = null
  while (end < text.length) {
    const from = end + 2
    end = lineEnd(text, from)
    const colon = text.indexOf(':', from)
    if (colon === -1 || colon > end) throw new AnswerFault('a line of the head has no colon')
    const { name, kind } = answerField(text.slice(from, colon))
    const value = trimmed(text, colon + 1, end)
    switch (kind) {
      case 'drop':
        break
      case 'malformed':
        throw new AnswerFault('a name in the head is none')
      case 'keep-alive':
        keepsForMs = timeoutOf(value)
        break
      case 'connection':
        connection = connection === null ? value : `${connection},${value}`
        break
      case 'transfer-encoding':
        if (chunked || isOld || value.toLowerCase() !== 'chunked') {
          throw new AnswerFault('Transfer-Encoding is not `chunked`, once')
        }
        chunked = true
        break
      case 'content-length':
        if (contentLength !== -1 || !length.test(value)) {
          throw new AnswerFault('Content-Length is not a number, once')
        }
        contentLength = Number(value)
        // RFC 9110 section 8.6: not with 204.
        if (status !== 204) fields.push(name, value)
        break
      case 'content-type':
        if (value.startsWith('text/event-stream')) isEventStream = true
        fields.push(name, value)
        break
      case 'pass':
        fields.push(name, value)
    }
  }
  if (chunked && contentLength !== -1) {
    throw new AnswerFault('Content-Length stands beside Transfer-Encoding')
  }
  const options = connection === null ? '' : connection.toLowerCase()
  const keeps = isOld ? hasOption(options, 'keep-alive') : !hasOption(options, 'close')
  return {
    status,
    fields: options === '' || plainConnection.has(options) ? fields : without(fields, options),
    contentLength,
    chunked,
    isEventStream,
    keeps,
    keepsForMs,
  }
}

function lineEnd(text: string, from: number): number {
  const end = text.indexOf('\r\n', from)
  return end === -1 ? text.length : end
}

function trimmed(text: string, from: number, to: number): string {
  let first = from
  let last = to
  while (first < last && isSpace(text.charCodeAt(first))) first += 1
  while (last > first && isSpace(text.charCodeAt(last - 1))) last -= 1
  return text.slice(first, last)
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x09
}

function hasOption(options: string, option: string): boolean {
  return options === option || options.split(',').some((part) => part.trim() === option)
}

function timeoutOf(value: string): number | null {
  const seconds = timeout.exec(value)?.[1]
  return seconds === undefined ? null : Number(seconds) * 1_000
}

/** A service that nominates the framing of its own answer is not followed in that. */
function without(fields: readonly string[], options: string): string[] {
  const gone = new Set(options.split(',').map((name) => name.trim()))
  gone.delete('content-length')
  const kept: string[] = []
  for (let place = 0; place < fields.length; place += 2) {
    const name = fields[place] ?? ''
    if (!gone.has(name)) kept.push(name, fields[place + 1] ?? '')
  }
  return kept
}
