/** An audit record from the request it is about. */
import type { AuditEntry } from '../../platform/ledger/ledger.ts'
import type { RequestContext } from '../../platform/http/caller.ts'
import type { ErrorCode } from '@haus/contract'

export function auditOf(
  context: RequestContext,
  target: string,
  detail: Readonly<Record<string, unknown>> = {},
): AuditEntry {
  return {
    actor: context.caller.actor,
    action: context.operation,
    target,
    outcome: 'allowed',
    code: null,
    source: context.source,
    requestId: context.requestId,
    detail,
  }
}

/** The record of a refusal: by permission (`denied`) or because the house could not (`failed`). */
export function auditOfRefusal(
  context: RequestContext,
  target: string,
  outcome: 'denied' | 'failed',
  code: ErrorCode,
  detail: Readonly<Record<string, unknown>> = {},
): AuditEntry {
  return { ...auditOf(context, target, detail), outcome, code }
}
