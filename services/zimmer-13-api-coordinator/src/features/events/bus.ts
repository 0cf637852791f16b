/**
 * The one stream of events inside this process. It follows the ledger as a projection, so a
 * subscriber sees each event once, in index order, after every view has applied it.
 */
import type { LedgerEvent, Projection } from '../../platform/ledger/index.ts'

export type Listener = (events: readonly LedgerEvent[]) => void

export interface EventBus extends Projection {
  load(): Promise<void>
  /** The listener must not throw and must not wait: it runs before the write is acknowledged. */
  subscribe(listener: Listener): () => void
}

export function createEventBus(): EventBus {
  const listeners = new Set<Listener>()
  return {
    load: () => Promise.resolve(),
    apply(events) {
      for (const listener of listeners) listener(events)
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
