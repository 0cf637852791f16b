/** A refused read or change of a secret is on record before its answer leaves, like a granted one. */
import { HausError } from '@haus/contract'
import type { RequestContext } from '../../platform/http/caller.ts'
import type { Ledger } from '../../platform/ledger/ledger.ts'
import { auditOfRefusal } from '../audit/index.ts'

/** Runs `task`; if it is refused, the refusal is recorded and thrown on. */
export async function recordingRefusals<T>(
  ledger: Ledger,
  context: RequestContext,
  target: string,
  task: () => Promise<T>,
): Promise<T> {
  try {
    return await task()
  } catch (error) {
    await recordRefusal(ledger, context, target, error)
    throw error
  }
}

/** What was not understood (400) or not possible for now (503) is no decision, and not recorded. */
export async function recordRefusal(
  ledger: Ledger,
  context: RequestContext,
  target: string,
  error: unknown,
): Promise<void> {
  if (!(error instanceof HausError)) return
  const { code, status } = error
  if (status === null || status === 400 || status === 503) return
  const outcome = status === 403 ? 'denied' : 'failed'
  await ledger.append({
    keys: [],
    writes: [],
    events: [],
    audit: auditOfRefusal(context, target, outcome, code),
  })
}
