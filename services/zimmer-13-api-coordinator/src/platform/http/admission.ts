/**
 * The front door: what is refused by its head alone, before routing and before any body is read.
 * Node's parser takes several heads that two readers can understand differently (measured on
 * Node 26.10: two Host headers, two Authorization headers, `TE: gzip, chunked`, Transfer-Encoding
 * on HTTP/1.0, absolute targets); each is refused here.
 */
import type { IncomingMessage } from 'node:http'
import { HausError } from '@haus/contract'
import type { HostVerdict } from './hosts.ts'
import { targetFault } from './path.ts'

/** A browser sends about 20; the parser is told one more, so that a cut list is seen as too long. */
export const headersMax = 100

/**
 * Headers that must be there once at most. Node keeps the first of two, another reader the last,
 * and the two would then authenticate, frame or route differently.
 */
const singletons = new Set([
  'authorization',
  'content-encoding',
  'content-length',
  'content-type',
  'expect',
  'host',
  'if-none-match',
  'last-event-id',
  'transfer-encoding',
  'upgrade',
])
/** Their lengths: most headers are passed by without a look at the name. */
const singletonLengths = [...singletons].map((name) => name.length)
const lengthMatters = Array.from({ length: 32 }, (_, length) => singletonLengths.includes(length))

export interface AdmissionRefusal {
  readonly error: HausError
  /** The path is not fit to be repeated, or the head cannot be trusted: the connection ends. */
  readonly pathless: boolean
}

export function createAdmission(
  checkHost: (host: string) => HostVerdict,
): (request: IncomingMessage) => AdmissionRefusal | null {
  return (request) => {
    const head = headFault(request)
    if (head !== null) return { error: head, pathless: true }
    const target = targetFault(request.url ?? '')
    if (target !== null) {
      const error = new HausError('invalid_path', target, {
        fields: [{ field: 'path', detail: target }],
      })
      return { error, pathless: true }
    }
    const { host } = request.headers
    if (host === undefined) {
      // HTTP/1.0 may come without: load balancers probe so, and no browser speaks it.
      if (request.httpVersion === '1.0') return null
      return { error: headerError('host', 'is required'), pathless: true }
    }
    const verdict = checkHost(host)
    if (verdict === 'own') return null
    return {
      error:
        verdict === 'foreign'
          ? new HausError(
              'foreign_host',
              'The Host header names another host. Use an address of this house, or have its operator allow the name.',
              {
                fields: [
                  {
                    field: 'header.host',
                    detail: 'must be an address of this house, or a name that its operator allows',
                  },
                ],
              },
            )
          : headerError('host', 'must be a host name or an IP address, with a port if need be'),
      pathless: false,
    }
  }
}

function headFault(request: IncomingMessage): HausError | null {
  const raw = request.rawHeaders
  if (raw.length > headersMax * 2) {
    return new HausError(
      'headers_too_large',
      `A request may have at most ${headersMax} headers; send fewer.`,
    )
  }
  let seen: string[] | null = null
  for (let place = 0; place < raw.length; place += 2) {
    const given = raw[place] ?? ''
    if (lengthMatters[given.length] !== true) continue
    const name = given.toLowerCase()
    if (!singletons.has(name)) continue
    if (seen === null) seen = [name]
    else if (seen.includes(name)) return headerError(name, 'is there twice; keep one')
    else seen.push(name)
  }
  if (seen === null) return null
  const { headers } = request
  const coding = headers['transfer-encoding']
  if (coding !== undefined) {
    if (request.httpVersion !== '1.1') {
      return headerError('transfer-encoding', 'is not part of HTTP/1.0; send Content-Length')
    }
    if (coding.toLowerCase() !== 'chunked') {
      return headerError('transfer-encoding', 'must be `chunked`, alone, or absent')
    }
  }
  const encoding = headers['content-encoding']
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    // A body of 256 KiB can unpack to gigabytes.
    return new HausError(
      'unsupported_media_type',
      'Send the body unpacked: Content-Encoding is not taken.',
      { fields: [{ field: 'header.content-encoding', detail: 'must be absent' }] },
    )
  }
  if (headers.upgrade !== undefined) {
    return headerError('upgrade', 'is not taken here; leave it out')
  }
  return null
}

function headerError(name: string, detail: string): HausError {
  const field = `header.${name}`
  return new HausError('invalid_request', `${field} ${detail}.`, { fields: [{ field, detail }] })
}
