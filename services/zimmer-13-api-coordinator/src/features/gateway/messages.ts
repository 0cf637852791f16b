/**
 * What the house's main thread and the gateway's thread say to each other.
 *
 * Everything the data plane decides by comes in these messages and is kept, so that it serves from
 * what it has when the main thread stalls or the database is away. Before the main thread answers a
 * writer it raises `changes`, a number that both threads share: the data plane looks at it with
 * every request and reads its mail first when it has changed. A key that was revoked, an instance
 * that was withdrawn is so from the moment that was acknowledged.
 */
import type { BreakerState, ErrorCode, InstanceState } from '@haus/contract'
import type { PublicJwk } from '../../platform/crypto/access-token-verifier.ts'
import type { ListenAddress } from '../../platform/http/index.ts'
import type { KeyChange } from '../identity/index.ts'
import type { TrafficService, TrafficUpdate } from '../registry/index.ts'

export type { TrafficInstance, TrafficService, TrafficUpdate } from '../registry/index.ts'
export type { KeyChange } from '../identity/index.ts'

export interface Listener {
  readonly address: string
  readonly port: number
}

/** A published route as the data plane needs it. */
export interface RoutedPrefix {
  readonly id: string
  /** Null: every host. */
  readonly host: string | null
  readonly pathPrefix: string
  /** Null: all of them. */
  readonly methods: readonly string[] | null
  readonly service: string
  readonly stripPrefix: boolean
  readonly bodyMaxBytes: number
  readonly retryIdempotencyKey: boolean
}

export interface WorkerSettings {
  readonly address: ListenAddress
  /** PEM; null: plain HTTP. */
  readonly tls: { readonly cert: Uint8Array; readonly key: Uint8Array } | null
  readonly domain: string
  /** Names by which clients reach the house. */
  readonly hosts: readonly string[]
  readonly advertiseAllow: readonly string[]
  readonly issuer: string
  readonly jwk: PublicJwk
  readonly tokenTtlSeconds: number
  /** Where no route says otherwise. */
  readonly bodyMaxBytes: number
  readonly logRequests: boolean
  /** Opens the relay's door, for this process alone. */
  readonly relaySecret: string
  /** One Int32, raised with every message that changes what the data plane decides by. */
  readonly changes: SharedArrayBuffer
}

export type ToWorker =
  | {
      /** These are all there are. */
      readonly kind: 'services'
      readonly index: number
      readonly services: readonly TrafficService[]
    }
  | {
      readonly kind: 'updates'
      readonly index: number
      readonly updates: readonly TrafficUpdate[]
    }
  | { readonly kind: 'routes'; readonly routes: readonly RoutedPrefix[] }
  | { readonly kind: 'keys'; readonly loaded: boolean; readonly changes: readonly KeyChange[] }
  | { readonly kind: 'listeners'; readonly listeners: readonly Listener[] }
  | { readonly kind: 'status'; readonly question: number; readonly service: string | null }
  /** So many characters of the request log have been written. */
  | { readonly kind: 'written'; readonly chars: number }
  | { readonly kind: 'drain'; readonly deadlineMs: number }

export interface InstanceStatus {
  readonly id: string
  readonly address: string
  readonly port: number
  readonly state: InstanceState
  readonly serves: boolean
  readonly withheld: boolean
  readonly breaker: BreakerState
  readonly inFlight: number
  readonly connections: number
  readonly latencyMs: number | null
}

export interface ServiceStatus {
  readonly service: string
  readonly active: number
  readonly waiting: number
  readonly panic: boolean
  readonly requests: number
  readonly failures: number
  readonly retries: number
  readonly instances: readonly InstanceStatus[]
}

export interface GatewayStatus {
  readonly connections: number
  readonly inFlight: number
  readonly routes: number
  readonly index: number
  readonly services: readonly ServiceStatus[]
}

/** Counted since the thread began. */
export interface ServiceCounts {
  readonly service: string
  /** Answers by class, 1xx to 5xx, and by who made them. */
  readonly upstream: readonly number[]
  readonly gateway: readonly number[]
  readonly retries: number
  readonly ejections: number
  readonly requestBytes: number
  readonly answerBytes: number
  /** Requests by duration, as in `durationBoundsMs`, and one beyond. */
  readonly durations: readonly number[]
  readonly durationSumMs: number
  /** Now. */
  readonly active: number
  readonly openBreakers: number
}

export interface GatewayCounts {
  readonly connections: number
  /** Refused before a service was known. */
  readonly refused: readonly number[]
  /** Lines of the request log that the main thread was too slow for. */
  readonly linesLost: number
  readonly services: readonly ServiceCounts[]
}

export const durationBoundsMs = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 15_000]

export type FromWorker =
  | {
      readonly kind: 'open'
      readonly host: string
      readonly port: number
      readonly url: string
      readonly relayPort: number
    }
  | {
      readonly kind: 'closed-door'
      readonly code: ErrorCode
      readonly detail: string
    }
  | {
      readonly kind: 'evidence'
      readonly id: string
      readonly incarnation: number
      readonly reason: string
    }
  | { readonly kind: 'status'; readonly question: number; readonly status: GatewayStatus }
  | { readonly kind: 'counts'; readonly counts: GatewayCounts }
  /** Lines of JSON, each with its line end. */
  | { readonly kind: 'log'; readonly lines: string; readonly count: number }
  | { readonly kind: 'drained' }
