/** A service as the data plane sees it: who may call it, its instances, what is under way. */
import { nextTurn } from '../../../platform/clock/next-turn.ts'
import type { TrafficService, TrafficUpdate } from '../messages.ts'
import { Counts } from './counts.ts'
import type { ConnectRules } from './upstream/connect.ts'
import { Instance } from './instance.ts'

/** Requests of one service under way, and as many that wait; more is an overload, not a burst. */
export const activeMax = 1_024
export const waitingMax = 1_024
/** Rationed retries at one time: a fifth of what is under way, so that they cannot double an overload. */
const retryShare = 0.2
const retriesMin = 3

interface Waiting {
  takeOver(): void
  proceed(): void
}

export class Service {
  readonly name: string
  aliases: readonly string[] = []
  callers: ReadonlySet<string> | null = null
  instances: readonly Instance[] = []
  readonly #byId = new Map<string, Instance>()
  active = 0
  retrying = 0
  panic = false
  readonly counts = new Counts()
  /** Requests that wait for a place, oldest first. */
  readonly waiting = new Set<Waiting>()

  constructor(name: string) {
    this.name = name
  }

  /** The best tier with anybody in it, of those behind `after`; null: nobody can serve. */
  bestTier(nowMs: number, without: Instance | null, after = -1): number | null {
    let best: number | null = null
    for (let place = 0; place < this.instances.length; place++) {
      const instance = this.instances[place]
      if (instance === undefined || instance === without) continue
      const tier = instance.tier(nowMs)
      if (tier === null || tier <= after) continue
      if (tier === 0) return 0
      if (best === null || tier < best) best = tier
    }
    return best
  }

  /**
   * While a sibling serves without a fault, every request that a dying instance left behind may go
   * there: together they are no more than the service was sent anyway. When nobody is without
   * fault, retries are rationed, because they would double what the service cannot carry.
   */
  mayRetry(failed: Instance, nowMs: number): boolean {
    for (let place = 0; place < this.instances.length; place++) {
      const sibling = this.instances[place]
      if (sibling === undefined || sibling === failed || sibling.tier(nowMs) !== 0) continue
      if (sibling.breaker.state === 'closed' && !sibling.breaker.failing) return true
    }
    return this.retrying < Math.max(retriesMin, this.active * retryShare)
  }

  /** Of n instances half may be ejected, and always one: with a single one an open breaker answers. */
  mayEject(): boolean {
    let ejected = 0
    for (const { breaker } of this.instances) if (breaker.state !== 'closed') ejected += 1
    return ejected < Math.max(1, Math.floor(this.instances.length / 2))
  }

  /** All there is to know. */
  takeAll(known: TrafficService, rules: ConnectRules, nowMs: number): void {
    const there = new Set(known.instances.map(({ id }) => id))
    const gone = this.instances.filter(({ id }) => !there.has(id)).map(({ id }) => id)
    this.take({ ...known, gone, forgotten: false }, rules, nowMs)
  }

  /** What has changed: instances that it does not name stay as they are. */
  take(update: TrafficUpdate, rules: ConnectRules, nowMs: number): void {
    this.aliases = update.aliases
    this.callers = update.callers === null ? null : new Set(update.callers)
    let others = false
    for (const id of update.gone) {
      this.#byId.get(id)?.connections.retire()
      if (this.#byId.delete(id)) others = true
    }
    for (const shown of update.instances) {
      const known = this.#byId.get(shown.id)
      if (known !== undefined && isSame(known, shown)) known.update(shown, nowMs)
      else {
        known?.connections.retire()
        this.#byId.set(shown.id, new Instance(shown, rules, nowMs))
        others = true
      }
    }
    if (others) this.instances = [...this.#byId.values()]
  }

  /** Closes connections that have been idle for too long. */
  sweep(nowMs: number): void {
    for (const { connections } of this.instances) connections.sweep(nowMs)
  }

  retire(): void {
    for (const { connections } of this.instances) connections.retire()
    this.instances = []
    this.#byId.clear()
  }

  /**
   * A place is free again, and goes to whoever waits longest. He uses it in the next turn of the
   * loop: a thousand that are refused one after the other would otherwise be nested in each other.
   */
  release(): void {
    for (const next of this.waiting) {
      this.waiting.delete(next)
      next.takeOver()
      nextTurn(proceed, next)
      return
    }
    this.active -= 1
  }
}

/** A new start of an instance is another program: nothing that was seen of the one before holds. */
function isSame({ known, incarnation }: Instance, shown: Instance['known']): boolean {
  return (
    incarnation === shown.incarnation &&
    known.address === shown.address &&
    known.port === shown.port &&
    known.scheme === shown.scheme
  )
}

function proceed(next: Waiting): void {
  next.proceed()
}
