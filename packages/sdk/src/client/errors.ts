/**
 * The two ways a call fails: the house said no, or there was no house to say anything.
 * Neither ever holds a secret: no header, no body and no token gets into a message or a cause.
 */
import type { ErrorCode, FieldError } from '@haus/contract'

/** Those of the contract, of RFC 6749 at the token endpoint, and those of a newer house. */
// oxlint-disable-next-line typescript/ban-types -- keeps the known codes in the completion of editors
export type ApiErrorCode = ErrorCode | (string & {})

/** A refusal by the house. Branch on `code`; show `message`, which names the mend. */
export class HausApiError extends Error {
  override readonly name = 'HausApiError'
  readonly code: ApiErrorCode
  readonly status: number
  readonly operation: string
  readonly fields: readonly FieldError[]
  readonly requestId: string | null
  /** How long the house asks to wait; null: it does not say. */
  readonly retryAfterMs: number | null

  constructor(
    detail: string,
    facts: {
      readonly code: ApiErrorCode
      readonly status: number
      readonly operation: string
      readonly fields?: readonly FieldError[]
      readonly requestId?: string | null
      readonly retryAfterMs?: number | null
    },
  ) {
    super(detail)
    this.code = facts.code
    this.status = facts.status
    this.operation = facts.operation
    this.fields = facts.fields ?? []
    this.requestId = facts.requestId ?? null
    this.retryAfterMs = facts.retryAfterMs ?? null
  }
}

/**
 * - `unreachable`: no connection, or it broke.
 * - `timeout`: no whole answer in time. What was asked may have been done.
 * - `not_haus`: an answer, and not one that a house gives: something else listens there.
 */
export type UnreachableReason = 'unreachable' | 'timeout' | 'not_haus'

export class HausUnreachableError extends Error {
  override readonly name = 'HausUnreachableError'
  readonly reason: UnreachableReason
  readonly operation: string

  constructor(reason: UnreachableReason, operation: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.reason = reason
    this.operation = operation
  }
}

/** It may pass by itself: nobody is there, or the house asks for patience. */
export function isTransient(error: unknown): boolean {
  if (error instanceof HausUnreachableError) return true
  return (
    error instanceof HausApiError &&
    (error.status === 429 || error.status === 408 || error.status >= 500)
  )
}
