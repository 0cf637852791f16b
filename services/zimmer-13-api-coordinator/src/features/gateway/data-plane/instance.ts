/**
 * An instance as the data plane sees it: where it is, what the house believes of it, and what the
 * gateway itself has seen: what is in flight, how long answers take, whether the breaker is open.
 */
import type { TrafficInstance } from '../messages.ts'
import { Breaker } from './breaker.ts'
import type { ConnectRules } from './upstream/connect.ts'
import { ConnectionStack } from './upstream/connection-stack.ts'

/** A degraded instance takes a quarter of its share. */
const degradedShare = 0.25
/** Who has just come, or come back, begins with a tenth and has its full share after 10 s. */
const slowStartShare = 0.1
const slowStartMs = 10_000
/** Latencies are averaged over about so long. */
const averageOverMs = 5_000
/**
 * How long the gateway keeps an instance back on its own evidence while the house says nothing:
 * the monitor's answer usually comes within milliseconds, a stalled API's does not.
 */
const withheldForMs = 2_000
/**
 * A dying instance fails hundreds of requests at once, and the house needs to hear of it once. It
 * may look at a suspect each time that it hears: ten times a second at most.
 */
const toldAgainAfterMs = 100
/** Tier of a suspect: the gateway's own doubt counts as much as the monitor's. */
const suspectTier = 2

export class Instance {
  readonly id: string
  readonly incarnation: number
  readonly connections: ConnectionStack
  readonly breaker = new Breaker()
  known: TrafficInstance
  inFlight = 0
  /** Until then the gateway's own evidence keeps it back; 0: there is none. */
  withheldUntilMs = 0
  /** When the house was last told of the gateway's evidence. */
  #toldAtMs = Number.NEGATIVE_INFINITY
  #latencyMs = 0
  #latencyAtMs = 0
  #warm = false
  #slowStartAtMs: number

  constructor(known: TrafficInstance, rules: ConnectRules, nowMs: number) {
    this.known = known
    this.id = known.id
    this.incarnation = known.incarnation
    this.connections = new ConnectionStack(known, rules)
    this.#slowStartAtMs = nowMs
  }

  /** Null: it never serves. */
  tier(nowMs: number): number | null {
    const { tier, scheme } = this.known
    if (tier === null || scheme === 'tcp') return null
    return this.withheldUntilMs > nowMs ? Math.max(tier, suspectTier) : tier
  }

  /** What the house now says of it. Whatever the gateway thought on its own gives way. */
  update(known: TrafficInstance, nowMs: number): void {
    const before = this.known
    this.known = known
    if (before.state === known.state) return
    this.withheldUntilMs = 0
    this.#toldAtMs = Number.NEGATIVE_INFINITY
    if (!works(before) && works(known)) {
      this.breaker.close(nowMs)
      this.#slowStartAtMs = nowMs
    }
  }

  /**
   * True when the house is to be told. Not only the first time: a suspect of which a probe has passed
   * since then is on its way back, and is offered until the house hears that it fails again.
   */
  withhold(nowMs: number): boolean {
    this.withheldUntilMs = nowMs + withheldForMs
    if (nowMs - this.#toldAtMs < toldAgainAfterMs) return false
    this.#toldAtMs = nowMs
    return true
  }

  startSlowly(nowMs: number): void {
    this.#slowStartAtMs = nowMs
  }

  /** Its part of the traffic: weight, less while degraded or new. */
  share(nowMs: number): number {
    const { weight, state } = this.known
    const share = state === 'degraded' ? weight * degradedShare : weight
    const ageMs = nowMs - this.#slowStartAtMs
    if (ageMs >= slowStartMs) return share
    return share * (slowStartShare + (1 - slowStartShare) * (ageMs / slowStartMs))
  }

  /** To the first byte; 0 when nothing is known. What is old counts less, so that it is tried again. */
  latencyMs(nowMs: number): number {
    const ageMs = nowMs - this.#latencyAtMs
    return ageMs < 100 ? this.#latencyMs : this.#latencyMs * Math.exp(-ageMs / averageOverMs)
  }

  /** The first answer says more of a cold program and a new connection than of the instance. */
  observe(latencyMs: number, nowMs: number): void {
    if (!this.#warm) this.#warm = true
    else this.#average(latencyMs, nowMs)
  }

  #average(latencyMs: number, nowMs: number): void {
    if (this.#latencyAtMs === 0) this.#latencyMs = latencyMs
    else {
      const ageMs = nowMs - this.#latencyAtMs
      const part = ageMs < 1 ? 1 / averageOverMs : 1 - Math.exp(-ageMs / averageOverMs)
      this.#latencyMs += (latencyMs - this.#latencyMs) * part
    }
    this.#latencyAtMs = nowMs
  }

  get measured(): boolean {
    return this.#latencyAtMs !== 0
  }
}

function works({ state }: TrafficInstance): boolean {
  return state === 'healthy' || state === 'degraded'
}
