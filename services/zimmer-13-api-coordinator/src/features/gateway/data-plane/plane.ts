/** What every request of the data plane shares. */
import type { Clock } from '../../../platform/clock/clock.ts'
import type { Authentication } from './authentication.ts'
import type { Exchange } from './exchange.ts'
import type { House } from './house.ts'
import type { InFlight } from './in-flight.ts'
import type { Instance } from './instance.ts'
import type { RequestLog } from './request-log.ts'
import type { Host } from './request-host.ts'

export interface Plane {
  readonly clock: Clock
  readonly unit: () => number
  readonly house: House
  readonly authentication: Authentication
  readonly log: RequestLog
  readonly scheme: 'http' | 'https'
  readonly domain: string
  readonly bodyMaxBytes: number
  readonly hostOf: (host: string) => Host | null
  readonly requestIdOf: (given: string | undefined) => string
  /** 24 random bytes in hex, for a trace and a span. */
  readonly traceHex: () => string
  readonly isRelaySecret: (given: string | null) => boolean
  /** Takes what the main thread has sent, if it has sent anything. */
  readonly catchUp: () => void
  /** The gateway itself saw that nobody answers there. */
  readonly report: (instance: Instance, reason: string) => void
  /** Under way, for the sweep of timeouts. */
  readonly exchanges: InFlight<Exchange>
  /** Answers of the gateway by class, before a service was known. */
  readonly refused: number[]
  draining: boolean
}
