/**
 * Writes down what is believed of instances, so that the record follows the belief.
 *
 * A belief counts before it is written; here it only becomes durable. Each instance is one entry,
 * the ledger makes groups of them. When writes are not possible the newest belief waits, one per
 * instance, and is written when they are: what was believed in between is nobody's news.
 */
import { HausError } from '@haus/contract'
import type { Cancel, Clock } from '../../platform/clock/clock.ts'
import { GuardLost, write, type Ledger } from '../../platform/ledger/index.ts'
import type { Log } from '../../platform/log/log.ts'
import type { Belief } from '../health/index.ts'
import { instanceChanged, instanceKey } from './records.ts'
import { updateInstance } from './store.ts'
import type { RegistryView } from './view.ts'

interface StateJournal {
  note(id: string): void
  readonly waiting: number
  /** Resolves when nothing is under way; what waits stays unwritten. */
  stop(): Promise<void>
}

interface StateJournalOptions {
  readonly ledger: Ledger
  readonly view: RegistryView
  readonly belief: (id: string) => Belief | undefined
  readonly clock: Clock
  readonly log: Log
}

/** Half a group: registrations are never kept out of a flush by news of health. */
const batchMax = 256
const retryMs = 1_000

export function createStateJournal(options: StateJournalOptions): StateJournal {
  const { ledger, view, belief, clock, log } = options
  const waiting = new Set<string>()
  let work: Promise<void> | undefined
  let cancelRetry: Cancel | undefined
  let stopped = false

  function wake(): void {
    if (stopped || work || cancelRetry || waiting.size === 0) return
    work = flush().finally(() => {
      work = undefined
      wake()
    })
  }

  async function flush(): Promise<void> {
    // The rest of this turn of the event loop joins the batch.
    await Promise.resolve()
    const batch: string[] = []
    for (const id of waiting) {
      if (batch.length === batchMax) break
      batch.push(id)
      waiting.delete(id)
    }
    const outcomes = await Promise.all(batch.map((id) => record(id)))
    if (stopped || outcomes.every(Boolean)) return
    cancelRetry = clock.after(retryMs, () => {
      cancelRetry = undefined
      wake()
    })
  }

  /** False when it has to be tried again. */
  async function record(id: string): Promise<boolean> {
    const instance = view.instance(id)
    const believed = belief(id)
    if (
      !instance ||
      !believed ||
      instance.incarnation !== believed.incarnation ||
      instance.state === believed.state
    ) {
      return true
    }
    const next = {
      ...instance,
      revision: instance.revision + 1,
      state: believed.state,
      reason: believed.reason,
      stateChangedAt: believed.since,
    }
    try {
      await ledger.append({
        keys: [instanceKey(next.service, next.address, next.port)],
        writes: [write(updateInstance, next)],
        events: [instanceChanged(next)],
        audit: null,
      })
    } catch (error) {
      waiting.add(id)
      // Away, closing, or somebody was faster: all of them are answered by another try.
      if (!(error instanceof HausError) && !(error instanceof GuardLost)) {
        log.warn({ err: error, instance: id }, 'a state change could not be written')
      }
      return false
    }
    if (belief(id)?.state !== next.state) waiting.add(id)
    return true
  }

  return {
    note(id) {
      waiting.add(id)
      wake()
    },
    get waiting() {
      return waiting.size
    },
    async stop() {
      stopped = true
      cancelRetry?.()
      await work
    },
  }
}
