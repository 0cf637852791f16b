/** What the gateway says when it does not pass a request on, or has nothing to pass back. */
import { HausError } from '@haus/contract/errors'
import type { RequestHead } from './request-head.ts'
import type { Service } from './service.ts'

export function headFault(head: RequestHead): HausError {
  const detail = head.fault ?? ''
  if (head.faultField === '') return new HausError('headers_too_large', detail)
  return new HausError('invalid_request', detail, {
    fields: [{ field: `header.${head.faultField}`, detail }],
  })
}

export function pathRefused(detail: string): HausError {
  return new HausError('path_refused', detail, { fields: [{ field: 'path', detail }] })
}

export function noRoute(why: string): HausError {
  return new HausError('no_route', `No route leads there: ${why}.`)
}

export function bodyTooLarge(limit: number): HausError {
  return new HausError('body_too_large', `The body may have at most ${limit} bytes here.`)
}

export function unavailable(
  detail: string,
  reason: 'none' | 'circuit_open' | 'limit',
  retryAfterSecondsMin = 1,
): HausError {
  return new HausError('service_unavailable', `${detail} (${reason}).`, {
    retryAfterSeconds: retryAfterSecondsMin,
  })
}

/** Until the first of the open breakers lets somebody try. */
export function retryAfterSeconds(service: Service, nowMs: number): number {
  let untilMs = Number.POSITIVE_INFINITY
  for (const { breaker } of service.instances) {
    if (breaker.state === 'open') untilMs = Math.min(untilMs, breaker.untilMs)
  }
  return Number.isFinite(untilMs) ? Math.max(1, Math.ceil((untilMs - nowMs) / 1_000)) : 1
}
