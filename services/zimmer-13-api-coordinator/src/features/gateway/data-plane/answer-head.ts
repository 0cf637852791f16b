/**
 * The header fields of a service's answer, as they go to the client: all but those of the
 * connection, in their order, every Set-Cookie apart. Bytes above ASCII stay as they are.
 */
import { answerField } from './header-names.ts'

export interface AnswerHead {
  /** Names and values in turn, for `writeHead`. */
  readonly fields: string[]
  /** -1: the end is told by chunks, or by the end of the connection. */
  readonly contentLength: number
  readonly isEventStream: boolean
}

/** `raw`: names and values in turn, as bytes. */
export function readAnswerHead(raw: readonly (Uint8Array | string)[], status: number): AnswerHead {
  const fields: string[] = []
  let contentLength = -1
  let isEventStream = false
  let nominated: string | null = null
  for (let place = 0; place < raw.length; place += 2) {
    const { name, kind } = answerField(latin1(raw[place]))
    if (kind === 'drop') continue
    const value = latin1(raw[place + 1])
    if (kind === 'connection') {
      nominated = nominated === null ? value : `${nominated},${value}`
      continue
    }
    if (kind === 'content-length') {
      // RFC 9110 section 8.6: not with 204; and the parser has made sure that there is only one.
      if (status === 204) continue
      contentLength = Number(value)
    } else if (kind === 'content-type' && value.startsWith('text/event-stream')) {
      isEventStream = true
    }
    fields.push(name, value)
  }
  if (nominated === null || nominated === 'keep-alive' || nominated === 'close') {
    return { fields, contentLength, isEventStream }
  }
  return { fields: withoutNominated(fields, nominated), contentLength, isEventStream }
}

/** A service that nominates the framing of its own answer is not followed in that. */
function withoutNominated(fields: readonly string[], nominated: string): string[] {
  const gone = new Set(nominated.split(',').map((name) => name.trim().toLowerCase()))
  gone.delete('content-length')
  const kept: string[] = []
  for (let place = 0; place < fields.length; place += 2) {
    const name = fields[place] ?? ''
    if (!gone.has(name)) kept.push(name, fields[place + 1] ?? '')
  }
  return kept
}

function latin1(bytes: Uint8Array | string | undefined): string {
  if (typeof bytes === 'string') return bytes
  return bytes instanceof Buffer ? bytes.toString('latin1') : ''
}
