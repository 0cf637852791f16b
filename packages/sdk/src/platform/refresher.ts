/**
 * Brings one thing up to date when somebody says that it may have changed: one run at a time,
 * however often it is said, and one more for what was said during a run. A run that fails in a way
 * that may pass is tried again, so that news which came while the house was stumbling is not lost.
 */
import { createBackoff } from './backoff.ts'
import { pause, type Clock } from './clock.ts'

export interface Refresher {
  /** Resolves when what was known to the other side at this moment has arrived, or is given up. */
  request(): Promise<void>
  /** The run that is under way, or one: for whoever needs an answer, not the very newest. */
  join(): Promise<void>
  stop(): void
}

export interface RefresherOptions {
  readonly task: (signal: AbortSignal) => Promise<void>
  readonly mayPass: (error: unknown) => boolean
  /** It will not pass by itself; the next request tries again. */
  readonly onGivenUp?: (error: unknown) => void
  readonly clock: Clock
  readonly unit: () => number
}

export function createRefresher(options: RefresherOptions): Refresher {
  const { task, mayPass, onGivenUp, clock, unit } = options
  const controller = new AbortController()
  const { signal } = controller
  let running: Promise<void> | undefined
  let following: Promise<void> | undefined

  async function run(): Promise<void> {
    const backoff = createBackoff(unit)
    while (!signal.aborted) {
      try {
        await task(signal)
        return
      } catch (error) {
        if (signal.aborted) return
        if (!mayPass(error)) {
          onGivenUp?.(error)
          return
        }
        await pause(clock, backoff.next(), signal)
      }
    }
  }

  function begin(): Promise<void> {
    running = run().finally(() => {
      running = undefined
    })
    return running
  }

  return {
    request() {
      if (signal.aborted) return Promise.resolve()
      if (!running) return begin()
      following ??= running.then(() => {
        following = undefined
        return begin()
      })
      return following
    },
    join() {
      if (signal.aborted) return Promise.resolve()
      return running ?? begin()
    },
    stop() {
      controller.abort()
    },
  }
}
