/** What the error that ended an attempt says: whose fault it was, and whether the request was run. */
import { AddressRefused } from '../../../../platform/network/address-policy.ts'
import { ConnectRefused } from './connect.ts'
import { codeOf } from '../../../../platform/errors/thrown.ts'

/** Why an attempt was ended from this side. */
export class Ended extends Error {
  override readonly name = 'Ended'
  readonly why: 'client' | 'head' | 'idle' | 'body' | 'token'

  constructor(why: Ended['why']) {
    super(why)
    this.why = why
  }
}

export class BodyTooLarge extends Error {
  override readonly name = 'BodyTooLarge'
  readonly limit: number

  constructor(limit: number) {
    super('the body is larger than the limit')
    this.limit = limit
  }
}

/** Nobody took the connection. */
export class ConnectTimedOut extends Error {
  override readonly name = 'ConnectTimedOut'
  readonly code = 'ETIMEDOUT'
}

/** The instance closed the connection before its answer was whole. */
export class UpstreamClosed extends Error {
  override readonly name = 'UpstreamClosed'
  readonly code = 'ECONNRESET'
}

/** No port, no file, no memory on this machine: nobody is judged by our own trouble. */
const ourTrouble: ReadonlySet<string> = new Set([
  'EADDRNOTAVAIL',
  'EMFILE',
  'ENFILE',
  'ENOBUFS',
  'ENOMEM',
])

/** False when the error says nothing of the instance: it was the client, a rule, or this machine. */
export function speaksOfInstance(error: Error): boolean {
  if (error instanceof BodyTooLarge) return false
  if (error instanceof ConnectRefused || error instanceof AddressRefused) return false
  return !ourTrouble.has(codeOf(error) ?? '')
}

/** The connection ended before a single byte of an answer. */
export function isReset(code: string | undefined): boolean {
  return code === 'ECONNRESET' || code === 'EPIPE'
}

/** For the record of the instance. */
export function reasonOf(code: string | undefined, written: boolean): string {
  if (written) return 'the gateway saw the connection reset'
  return code === 'ECONNREFUSED'
    ? 'the gateway was refused the connection'
    : `the gateway could not connect (${code ?? 'an unknown error'})`
}

/** Why an answer under way was cut off. */
export function codeOfCut(error: Error): string {
  if (error instanceof BodyTooLarge) return 'body_too_large'
  if (!(error instanceof Ended)) return 'upstream_failed'
  if (error.why === 'body') return 'request_timeout'
  return error.why === 'token' ? 'token_revoked' : 'upstream_timeout'
}
