/**
 * The header fields of a request in one pass: what travels on, and what the gateway itself must
 * know. Node's parser has refused broken framing; what it lets through and two programs could
 * still read differently (two Host fields, a second Authorization, a transfer coding other than
 * chunked, HTTP/1.0 with chunks) is refused here.
 */
import { mayBeNominated, requestField } from './header-names.ts'

/** More than any browser sends; the head as a whole has 16 KiB. */
export const fieldsMax = 100

export class RequestHead {
  /** Names in lower case and values in turn, in the order of the wire. */
  fields: string[] = []
  /** Why it is refused; null: it is fine. */
  fault: string | null = null
  /** The field that is at fault. */
  faultField = ''
  host: string | null = null
  authorization: string | null = null
  hausToken: string | null = null
  /** -1: not given. */
  contentLength = -1
  chunked = false
  expectsContinue = false
  upgrade = false
  requestId: string | null = null
  traceparent: string | null = null
  via: string | null = null
  idempotencyKey = false
  /** Fields of the API's relay, which only its own door believes. */
  relaySecret: string | null = null
  relayCaller: string | null = null

  get hasBody(): boolean {
    return this.chunked || this.contentLength > 0
  }
}

export function readRequestHead(raw: readonly string[], httpVersion: string): RequestHead {
  const head = new RequestHead()
  const { fields } = head
  let nominated: string | null = null
  for (let place = 0; place < raw.length; place += 2) {
    const written = raw[place] ?? ''
    const value = raw[place + 1] ?? ''
    const { name, kind } = requestField(written)
    switch (kind) {
      case 'pass':
        fields.push(name, value)
        break
      case 'drop':
        break
      case 'host':
        if (head.host !== null) return refuse(head, name, 'may be given once')
        head.host = value
        break
      case 'authorization':
        if (head.authorization !== null) return refuse(head, name, 'may be given once')
        head.authorization = value
        break
      case 'haus-token':
        if (head.hausToken !== null) return refuse(head, name, 'may be given once')
        head.hausToken = value
        break
      case 'content-length':
        head.contentLength = Number(value)
        break
      case 'transfer-encoding':
        if (head.chunked || value.toLowerCase() !== 'chunked') {
          return refuse(head, name, 'must be `chunked`, once: other codings are not taken')
        }
        if (httpVersion !== '1.1') return refuse(head, name, 'needs HTTP/1.1')
        head.chunked = true
        break
      case 'connection':
        nominated = nominated === null ? value : `${nominated},${value}`
        break
      case 'expect':
        if (value.toLowerCase() !== '100-continue') {
          return refuse(head, name, 'must be `100-continue` or absent')
        }
        head.expectsContinue = true
        break
      case 'upgrade':
        head.upgrade = true
        break
      case 'idempotency-key':
        head.idempotencyKey = true
        fields.push(name, value)
        break
      case 'traceparent':
        // Two of them are none (W3C Trace Context, section 3.2).
        head.traceparent = head.traceparent === null ? value : ''
        break
      case 'via':
        head.via = head.via === null ? value : `${head.via}, ${value}`
        break
      case 'x-request-id':
        head.requestId = head.requestId === null ? value : ''
        break
      case 'relay':
        if (name === 'haus-relay-secret') head.relaySecret = value
        else if (name === 'haus-relay-caller') head.relayCaller = value
        break
    }
  }
  if (raw.length > 2 * fieldsMax) return refuse(head, '', `may have ${fieldsMax} fields at most`)
  if (head.host === null && httpVersion === '1.1') return refuse(head, 'host', 'is required')
  if (nominated !== null && nominated.length > 0) return takeNominated(head, nominated)
  return head
}

/** What Connection names ends here, like Connection itself. */
function takeNominated(head: RequestHead, nominated: string): RequestHead {
  if (nominated === 'keep-alive' || nominated === 'close') return head
  const gone = new Set<string>()
  for (const part of nominated.split(',')) {
    const name = part.trim().toLowerCase()
    if (name === '' || name === 'keep-alive' || name === 'close') continue
    if (!mayBeNominated(name)) {
      return refuse(head, 'connection', 'names a field that may not be taken away on the way')
    }
    gone.add(name)
  }
  if (gone.size === 0) return head
  const kept: string[] = []
  for (let place = 0; place < head.fields.length; place += 2) {
    const name = head.fields[place] ?? ''
    if (!gone.has(name)) kept.push(name, head.fields[place + 1] ?? '')
  }
  head.fields = kept
  return head
}

function refuse(head: RequestHead, field: string, fault: string): RequestHead {
  head.faultField = field
  head.fault = field === '' ? `The head ${fault}.` : `header.${field} ${fault}.`
  return head
}
