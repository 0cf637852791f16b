/**
 * Who has been heard of lately. In memory, on the monotonic clock, never written per heartbeat.
 *
 * A wheel with one slot per second and no timer per lease: a heartbeat moves only a number, and a
 * lease is looked at when its slot comes round, at most once per term. When this process itself
 * stood still, or has just started, every lease gets a fresh term: nobody is removed because Haus
 * was away.
 */
import { leaseTtlSeconds } from '@haus/contract'
import type { Cancel, Clock } from '../../platform/clock/clock.ts'
import type { Vital } from './balancer.ts'

export interface Lease extends Vital {
  readonly id: string
  readonly incarnation: number
  /** False for an operator's registration: load is taken, and nothing expires. */
  readonly leased: boolean
  expired: boolean
  lastHeardMs: number
  /** Credential versions in use, as far as the instance or its registration told. */
  adopted: Readonly<Record<string, number>> | null
  /** Only these are its business; null: all that are granted, or not known since a restart. */
  needed: ReadonlySet<string> | null
  configVersion: number | null
}

export interface Leases {
  /** A new start of an instance; the one before can no longer speak for it. */
  grant(id: string, incarnation: number, leased: boolean): Lease
  get(id: string): Lease | undefined
  all(): Iterable<Lease>
  /** One heartbeat; true when the lease had expired and lives again. */
  renew(lease: Lease, load: number | undefined): boolean
  drop(id: string): void
  /** Ids heard of since they were last taken, at most `limit`, those that wait longest first. */
  takeHeard(limit: number): string[]
  /** What could not be written is taken again. */
  putBack(ids: readonly string[]): void
  readonly size: number
  start(): void
  stop(): void
}

interface LeasesOptions {
  readonly clock: Clock
  readonly onExpired: (lease: Lease) => void
}

const ttlMs = leaseTtlSeconds * 1_000
const tickMs = 1_000
/** The tick after a gap this long does not count silence: it was ours. */
const stallMs = 5_000
const slotCount = leaseTtlSeconds + 2

export function createLeases({ clock, onExpired }: LeasesOptions): Leases {
  const leases = new Map<string, Lease>()
  const wheel = Array.from({ length: slotCount }, () => new Set<Lease>())
  const heard = new Set<string>()
  let cancelTick: Cancel | undefined
  let turnedAtMs = clock.monotonicMs()
  /** No lease ends before this: the fresh term after a start or a stall. */
  let floorMs = 0

  function endOf(lease: Lease): number {
    return Math.max(lease.lastHeardMs + ttlMs, floorMs)
  }

  function slotAt(atMs: number): Set<Lease> {
    const slot = wheel[Math.ceil(atMs / tickMs) % slotCount]
    if (!slot) throw new Error('the wheel has no such slot')
    return slot
  }

  function tick(): void {
    const nowMs = clock.monotonicMs()
    cancelTick = clock.after(tickMs, tick)
    if (nowMs - turnedAtMs > stallMs) {
      floorMs = nowMs + ttlMs
      // Slots were skipped; with a fresh term for all, each lease is placed anew.
      for (const slot of wheel) slot.clear()
      for (const lease of leases.values()) if (lease.leased && !lease.expired) place(lease)
    } else {
      const first = Math.floor(turnedAtMs / tickMs) + 1
      for (let turn = first; turn <= Math.floor(nowMs / tickMs); turn++) {
        sweep(slotAt(turn * tickMs), nowMs)
      }
    }
    turnedAtMs = nowMs
  }

  function sweep(slot: Set<Lease>, nowMs: number): void {
    for (const lease of slot) {
      const endMs = endOf(lease)
      if (endMs > nowMs) {
        const later = slotAt(endMs)
        if (later === slot) continue
        slot.delete(lease)
        later.add(lease)
        continue
      }
      slot.delete(lease)
      lease.expired = true
      onExpired(lease)
    }
  }

  function place(lease: Lease): void {
    slotAt(endOf(lease)).add(lease)
  }

  function displace(lease: Lease): void {
    for (const slot of wheel) if (slot.delete(lease)) return
  }

  return {
    grant(id, incarnation, leased) {
      const before = leases.get(id)
      if (before) displace(before)
      const lease: Lease = {
        id,
        incarnation,
        leased,
        expired: false,
        lastHeardMs: clock.monotonicMs(),
        load: 0,
        adopted: null,
        needed: null,
        configVersion: null,
      }
      leases.set(id, lease)
      if (leased) place(lease)
      return lease
    },

    get: (id) => leases.get(id),

    all: () => leases.values(),

    renew(lease, load) {
      lease.lastHeardMs = clock.monotonicMs()
      if (load !== undefined) lease.load = load
      heard.add(lease.id)
      if (!lease.expired) return false
      lease.expired = false
      place(lease)
      return true
    },

    drop(id) {
      const lease = leases.get(id)
      if (!lease) return
      displace(lease)
      leases.delete(id)
      heard.delete(id)
    },

    takeHeard(limit) {
      const ids: string[] = []
      for (const id of heard) {
        if (ids.length === limit) break
        ids.push(id)
        heard.delete(id)
      }
      return ids
    },

    putBack(ids) {
      for (const id of ids) if (leases.has(id)) heard.add(id)
    },

    get size() {
      return leases.size
    },

    start() {
      turnedAtMs = clock.monotonicMs()
      floorMs = turnedAtMs + ttlMs
      cancelTick = clock.after(tickMs, tick)
    },

    stop() {
      cancelTick?.()
    },
  }
}
