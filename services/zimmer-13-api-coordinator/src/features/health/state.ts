/**
 * The state machine of an instance, pure: what is believed, and what evidence changes it into.
 *
 *   from                on                                   to
 *   pending             a probe passes                       healthy, or degraded
 *   pending             3 probes in a row fail               offline
 *   healthy, degraded   a connection is refused or reset,
 *                       or the lease expires                 suspect
 *   healthy, degraded   3 probes in a row time out or fail   offline
 *   healthy             it says so itself (beat, 429)        degraded
 *   degraded            it no longer says so                 healthy
 *   suspect, unknown    2 probes in a row pass               healthy, or degraded
 *   suspect, unknown    3 probes in a row fail               offline
 *   suspect             a probe has passed, and a new doubt  suspect from the beginning
 *   offline             2 probes in a row pass               healthy, or degraded
 *
 * `draining` and `maintenance` are the operator's and stand beside the machine. Nothing gets
 * worse because evidence is missing: a lease that expires while its probe passes keeps the instance.
 */
import type { InstanceState } from '@haus/contract'

export type Believed = Exclude<InstanceState, 'draining' | 'maintenance'>

export type Evidence =
  /** A probe passed; `ailing`: it answered that it has too much to do. */
  | { readonly kind: 'passed'; readonly ailing: boolean; readonly reason: string | null }
  /** A probe was refused or reset: there is nobody, and that is certain. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** A probe timed out or was answered badly: it may be a hiccup. */
  | { readonly kind: 'failed'; readonly reason: string }
  /** Somebody else saw a refused connection, or the lease expired. */
  | { readonly kind: 'doubted'; readonly reason: string }
  /** What the instance says of itself. */
  | { readonly kind: 'told'; readonly degraded: boolean }

export interface Standing {
  readonly state: Believed
  readonly reason: string | null
  /** Failed probes in a row, and passed ones; each ends the other. */
  readonly failures: number
  readonly successes: number
  /** Probes since the state began: they come faster at first. */
  readonly probes: number
  /** The instance's own word, which outlives probes. */
  readonly toldDegraded: boolean
}

const failuresToOffline = 3
const successesToReturn = 2

const toldReason = 'it says so itself'

export function standingAt(state: Believed, reason: string | null): Standing {
  return { state, reason, failures: 0, successes: 0, probes: 0, toldDegraded: false }
}

export function weigh(standing: Standing, evidence: Evidence): Standing {
  switch (evidence.kind) {
    case 'passed':
      return passed(standing, evidence.ailing ? evidence.reason : null)
    case 'refused':
      return isServing(standing.state)
        ? enter(standing, 'suspect', evidence.reason)
        : failed(standing, evidence.reason)
    case 'failed':
      return failed(standing, evidence.reason)
    case 'doubted':
      return isServing(standing.state) || isReturning(standing)
        ? enter(standing, 'suspect', evidence.reason)
        : standing
    case 'told':
      return told(standing, evidence.degraded)
  }
}

function isServing(state: Believed): boolean {
  return state === 'healthy' || state === 'degraded'
}

/** A suspect on its way back, which is looked at less often: a new doubt must not wait for that. */
function isReturning({ state, successes }: Standing): boolean {
  return state === 'suspect' && successes > 0
}

function passed(standing: Standing, ailing: string | null): Standing {
  const successes = standing.successes + 1
  const needed = isServing(standing.state) || standing.state === 'pending' ? 1 : successesToReturn
  if (successes < needed) {
    return { ...standing, successes, failures: 0, probes: standing.probes + 1 }
  }
  const reason = ailing ?? (standing.toldDegraded ? toldReason : null)
  const state = reason === null ? 'healthy' : 'degraded'
  if (state === standing.state) {
    return { ...standing, reason, successes, failures: 0, probes: standing.probes + 1 }
  }
  return enter(standing, state, reason)
}

function failed(standing: Standing, reason: string): Standing {
  const failures = standing.failures + 1
  if (failures >= failuresToOffline && standing.state !== 'offline') {
    return enter(standing, 'offline', reason)
  }
  return { ...standing, reason, failures, successes: 0, probes: standing.probes + 1 }
}

function told(standing: Standing, degraded: boolean): Standing {
  if (standing.toldDegraded === degraded) return standing
  const next = { ...standing, toldDegraded: degraded }
  if (degraded && standing.state === 'healthy') return enter(next, 'degraded', toldReason)
  if (!degraded && standing.state === 'degraded' && standing.reason === toldReason) {
    return enter(next, 'healthy', null)
  }
  return next
}

function enter(standing: Standing, state: Believed, reason: string | null): Standing {
  return { ...standing, state, reason, failures: 0, successes: 0, probes: 0 }
}

/** Probes of a suspect at 0, 200 and 600 ms after the doubt; later ones a second after one that passes. */
const suspectDelaysMs = [0, 200, 400] as const
/** After a failure: soon, then less soon. */
const recheckDelaysMs = [1_000, 3_000] as const

/**
 * When to look again; null: there is nothing to find out, the regular round is enough.
 * A probe that was due counts from its answer, so that a hanging instance is not probed twice at once.
 */
export function recheckAfterMs(standing: Standing): number | null {
  switch (standing.state) {
    case 'healthy':
    case 'degraded':
      return standing.failures === 0 ? null : (recheckDelaysMs[standing.failures - 1] ?? null)
    case 'suspect':
      return suspectDelaysMs[standing.successes > 0 ? standing.probes : standing.failures] ?? 1_000
    case 'pending':
    case 'unknown':
      return recheckDelaysMs[Math.max(0, standing.failures - 1)] ?? 1_000
    case 'offline':
      return standing.successes > 0 ? 1_000 : (recheckDelaysMs[standing.probes] ?? null)
  }
}
