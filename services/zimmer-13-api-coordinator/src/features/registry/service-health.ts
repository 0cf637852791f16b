/** The health of a service: the best that can serve it. */
import type { InstanceState, ServiceHealth } from '@haus/contract'

/**
 * All that should serve do: healthy; some do: degraded; none: offline. Instances that an operator
 * withholds, and those that have only just come, are not held against their siblings. A lone
 * suspect is degraded and not offline: it still serves until its probes have decided.
 */
export function serviceHealth(states: Iterable<InstanceState>): ServiceHealth {
  let healthy = 0
  let ailing = 0
  let offline = 0
  let unseen = 0
  for (const state of states) {
    switch (state) {
      case 'healthy':
        healthy += 1
        break
      case 'degraded':
      case 'suspect':
        ailing += 1
        break
      case 'offline':
        offline += 1
        break
      case 'pending':
      case 'unknown':
        unseen += 1
        break
      case 'draining':
      case 'maintenance':
        break
    }
  }
  if (healthy > 0) return ailing + offline > 0 ? 'degraded' : 'healthy'
  if (ailing > 0) return 'degraded'
  return unseen > 0 ? 'unknown' : 'offline'
}

const worstFirst: readonly ServiceHealth[] = ['offline', 'degraded', 'unknown', 'healthy']

/** The worst of them; an empty house is healthy. */
export function worstHealth(healths: Iterable<ServiceHealth>): ServiceHealth {
  const seen = new Set(healths)
  return worstFirst.find((health) => seen.has(health)) ?? 'healthy'
}
