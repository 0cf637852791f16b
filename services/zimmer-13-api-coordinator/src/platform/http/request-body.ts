/**
 * The body of a request: what its head may announce, what its bytes must be, and what is said when
 * they are not. Bytes are kept as they come and parsed once, in the operation's own words.
 */
import type { IncomingMessage } from 'node:http'
import { HausError } from '@haus/contract'
import type { Operation } from '@haus/contract'
import type { FastifyRequest } from 'fastify'
import { announcesBody } from './exchange.ts'
import { parseParameters } from './query.ts'
import { decodeUtf8, parseJson, wholeBody } from './strict-json.ts'
import { codeOf } from '../errors/thrown.ts'

export const jsonType = 'application/json'
export const formType = 'application/x-www-form-urlencoded'

/** @throws HausError unsupported_media_type, body_too_large, invalid_request */
export function checkBodyHead(
  request: IncomingMessage,
  operation: Operation,
  limitBytes: number,
): void {
  if (!announcesBody(request)) return
  const { type, charset } = mediaTypeOf(request.headers['content-type'] ?? '')
  const taken = operation.form === true ? [jsonType, formType] : [jsonType]
  if (!taken.includes(type)) {
    throw new HausError('unsupported_media_type', `Send the body as ${taken.join(' or ')}.`, {
      fields: [{ field: 'header.content-type', detail: `must be ${taken.join(' or ')}` }],
    })
  }
  if (charset !== null && charset !== 'utf-8' && charset !== 'utf8') {
    throw new HausError('unsupported_media_type', 'Send the body in UTF-8.', {
      fields: [{ field: 'header.content-type', detail: 'must have the charset utf-8, or none' }],
    })
  }
  // Before `100 Continue`: a body that cannot be taken is not asked for.
  if (Number(request.headers['content-length']) > limitBytes) throw tooLarge(limitBytes)
}

function mediaTypeOf(header: string): { type: string; charset: string | null } {
  const [type = '', ...parameters] = header.split(';')
  const charset = parameters
    .map((parameter) => /^\s*charset\s*=\s*"?([^"\s]*)"?\s*$/i.exec(parameter)?.[1])
    .find((value) => value !== undefined)
  return { type: type.trim().toLowerCase(), charset: charset?.toLowerCase() ?? null }
}

export function parseBody(request: FastifyRequest, operation: Operation): unknown {
  const bytes = request.body
  const present = Buffer.isBuffer(bytes) && bytes.length > 0
  if (operation.body === undefined) {
    // Many clients send `{}` with every POST; anything in it would be a misunderstanding.
    if (present && !isEmptyObject(parseJson(bytes))) throw unwantedBody(operation)
    return undefined
  }
  if (!present) {
    throw new HausError('invalid_request', 'This operation needs a JSON object as its body.', {
      fields: [{ field: '', detail: 'must be an object' }],
    })
  }
  const { type } = mediaTypeOf(request.headers['content-type'] ?? '')
  return type === formType ? parseParameters(decodeUtf8(bytes), 'form') : parseJson(bytes)
}

function isEmptyObject(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.keys(value).length === 0
  )
}

export function unwantedBody(operation: Operation): HausError {
  return new HausError('invalid_request', `${operation.id} takes no body; leave it out.`, {
    fields: [{ field: '', detail: 'must be absent' }],
  })
}

function tooLarge(limitBytes: number): HausError {
  return new HausError(
    'body_too_large',
    `The body may have at most ${limitBytes} bytes; send less.`,
    { fields: [{ field: wholeBody, detail: `must have at most ${limitBytes} bytes` }] },
  )
}

/** Fastify's own refusals while it reads a body, in the words of the contract. */
export function bodyError(error: unknown, limitBytes = 0): unknown {
  switch (codeOf(error)) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return tooLarge(limitBytes)
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
    case 'ECONNRESET':
      return new HausError('invalid_request', 'The body ended before its announced length.', {
        cause: error,
        fields: [{ field: wholeBody, detail: 'must be as long as Content-Length says' }],
      })
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new HausError('unsupported_media_type', `Send the body as ${jsonType}.`, {
        fields: [{ field: 'header.content-type', detail: `must be ${jsonType}` }],
      })
    case undefined:
    default:
      return error
  }
}
