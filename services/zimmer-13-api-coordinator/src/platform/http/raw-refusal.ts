/**
 * A refusal where there is no response object: the parser gave up, or the client asked for a
 * tunnel. The problem document is written to the socket by hand, and the connection ends.
 */
import type { Duplex } from 'node:stream'
import { HausError } from '@haus/contract/errors'
import { problemOf } from './problem.ts'
import { codeOf } from '../errors/thrown.ts'
import { http } from './node-http.ts'

/** `extra`: more lines for the head. */
export function refuseOnSocket(
  socket: Duplex,
  thrown: Error,
  requestId: string,
  extra: readonly string[] = [],
): void {
  if (!socket.writable || answerIsComing(socket) || codeOf(thrown) === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const refusal = problemOf(thrown instanceof HausError ? thrown : parserError(thrown), {
    requestId,
    instance: null,
  })
  const head = [
    `HTTP/1.1 ${refusal.status} ${http.STATUS_CODES[refusal.status] ?? ''}`,
    `content-type: ${refusal.contentType}`,
    `content-length: ${refusal.body.length}`,
    'cache-control: no-store',
    'x-content-type-options: nosniff',
    `x-request-id: ${requestId}`,
    'connection: close',
    ...extra,
    ...Object.entries(refusal.headers).map(([name, value]) => `${name.toLowerCase()}: ${value}`),
  ]
  if (refusal.status === 405) head.push('allow: GET, POST, PUT, PATCH, DELETE')
  socket.end(Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), refusal.body]), () =>
    socket.destroy(),
  )
}

function parserError(error: Error): HausError {
  switch (codeOf(error)) {
    case 'HPE_HEADER_OVERFLOW':
      return new HausError('headers_too_large', 'The headers are larger than 16 KiB; send less.')
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new HausError('request_timeout', 'The request did not arrive in time; send it again.')
    case undefined:
    default:
      return new HausError('invalid_request', 'The bytes are not a valid HTTP/1.1 request.')
  }
}

/**
 * A request that has arrived whole has an answer on its way: a refusal of the bytes after it would
 * be taken for that answer. (Node keeps the response under way in `_httpMessage`.)
 */
function answerIsComing(socket: Duplex): boolean {
  const response: unknown = '_httpMessage' in socket ? socket._httpMessage : null
  if (!(response instanceof http.ServerResponse)) return false
  return response.headersSent || response.req.complete
}
