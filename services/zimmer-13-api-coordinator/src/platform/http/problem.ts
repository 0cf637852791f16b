/**
 * How a refusal looks on the wire: RFC 9457 problem documents, and for the token endpoint the
 * shape of RFC 6749. Anything that is not a HausError becomes `internal_error`, and nothing of it
 * is shown: messages of libraries quote what they choke on, which can be a secret.
 */
import { errorKinds, HausError, type ErrorCode } from '@haus/contract/errors'

/** What a field error says of a field that is not there. */
export const missingDetail = 'is required'

export const problemContentType = 'application/problem+json'

export interface Refusal {
  readonly status: number
  readonly contentType: string
  readonly body: Buffer
  readonly headers: Readonly<Record<string, string>>
}

/** What the caller may know of any thrown value. */
export function asHausError(error: unknown): HausError {
  if (error instanceof HausError && error.status !== null) return error
  return new HausError(
    'internal_error',
    'Haus made a mistake with this request; the log has it under the request id.',
    { cause: error },
  )
}

export function statusOf(code: ErrorCode): number {
  return errorKinds[code].status ?? 500
}

export interface ProblemContext {
  readonly requestId: string
  /** Path without query; null when the path itself is what is wrong. */
  readonly instance: string | null
}

export function problemOf(error: HausError, context: ProblemContext): Refusal {
  const status = statusOf(error.code)
  return {
    status,
    contentType: problemContentType,
    body: Buffer.from(
      JSON.stringify({
        type: `urn:haus:error:${error.code}`,
        title: errorKinds[error.code].title,
        status,
        detail: error.message,
        ...(context.instance !== null && { instance: context.instance }),
        code: error.code,
        requestId: context.requestId,
        ...(error.fields.length > 0 && { errors: error.fields }),
      }),
    ),
    headers: { ...challengeOf(error, status), ...retryOf(error, status) },
  }
}

/** RFC 6749 section 5.2. `requestId` travels in the header alone: the members are the RFC's. */
export function tokenErrorOf(error: HausError): Refusal {
  const own = statusOf(error.code)
  const status = error.code === 'invalid_client' ? 401 : own
  return {
    status,
    contentType: 'application/json',
    body: Buffer.from(
      JSON.stringify({ error: tokenErrorCode(error, status), error_description: asciiOf(error) }),
    ),
    headers: {
      pragma: 'no-cache',
      ...(status === 401 && { 'www-authenticate': 'Basic realm="haus"' }),
      ...retryOf(error, status),
    },
  }
}

function tokenErrorCode(error: HausError, status: number): string {
  if (error.code === 'invalid_client') return 'invalid_client'
  const grantType = error.fields.find((field) => field.field === '/grant_type')
  // Another value is another grant; twice, or not there at all, is a request that is not well formed.
  if (grantType?.detail.startsWith('must be "')) return 'unsupported_grant_type'
  if (status === 503) return 'temporarily_unavailable'
  if (status >= 500) return 'server_error'
  return 'invalid_request'
}

/** `error_description` is limited to printable ASCII without `"` and `\`. */
function asciiOf(error: HausError): string {
  return error.message.replaceAll(/["\\]/g, "'").replaceAll(/[^\x20-\x7e]/g, '?')
}

/** RFC 6750 section 3: no error code when no token came at all. */
function challengeOf(error: HausError, status: number): Record<string, string> {
  if (status !== 401) return {}
  return {
    'www-authenticate':
      error.code === 'unauthenticated'
        ? 'Bearer realm="haus"'
        : 'Bearer realm="haus", error="invalid_token"',
  }
}

function retryOf(error: HausError, status: number): Record<string, string> {
  // Every 503 of this house is expected to pass within seconds.
  const seconds = error.retryAfterSeconds ?? (status === 503 ? 1 : null)
  return seconds === null ? {} : { 'retry-after': String(Math.max(1, Math.ceil(seconds))) }
}

/**
 * An error for the log: names, messages and stacks along the chain of causes. Other properties
 * are left out, because drivers put whole rows into them.
 */
export function describeError(error: unknown, depth = 0): Record<string, unknown> {
  if (!(error instanceof Error)) return { type: typeof error }
  const code: unknown = 'code' in error ? error.code : undefined
  return {
    type: error.name,
    message: error.message,
    stack: error.stack,
    ...((typeof code === 'string' || typeof code === 'number') && { code }),
    // Deeper chains are loops or accidents.
    ...(error.cause !== undefined && depth < 4 && { cause: describeError(error.cause, depth + 1) }),
  }
}
