/** Waits for a condition, not for a time: looks again each few ms and fails with what it waited for. */
import { setTimeout as wait } from 'node:timers/promises'

/** At once at first, then after a twentieth of the time waited: a look may be a request or a query. */
const lookAgainAfterMs = { least: 5, most: 50 }
/** Machines of tests stand still for seconds now and then. */
const patienceMs = 60_000

export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  deadlineMs = patienceMs,
): Promise<NonNullable<T>> {
  const startedMs = performance.now()
  for (;;) {
    const value = await condition()
    if (value) return value
    const waitedMs = performance.now() - startedMs
    if (waitedMs > deadlineMs) throw new Error(`waited ${deadlineMs} ms for: ${what}`)
    const { least, most } = lookAgainAfterMs
    await wait(Math.min(Math.max(waitedMs / 20, least), most))
  }
}

/** Asks again while the house says 503: on a busy machine a write may not be confirmed in time. */
export function untilAnswered<A extends { readonly status: number }>(
  what: string,
  ask: () => Promise<A>,
): Promise<NonNullable<A>> {
  return until(`an answer to ${what}`, async () => {
    const answer = await ask()
    return answer.status === 503 ? undefined : answer
  })
}
