/** Waits for a condition, not for a time: looks again each few ms and fails with what it waited for. */
import { setTimeout as wait } from 'node:timers/promises'

const lookAgainAfterMs = 5

export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  deadlineMs = 60_000,
): Promise<NonNullable<T>> {
  const endsAtMs = performance.now() + deadlineMs
  for (;;) {
    const value = await condition()
    if (value) return value
    if (performance.now() > endsAtMs) throw new Error(`waited ${deadlineMs} ms for: ${what}`)
    await wait(lookAgainAfterMs)
  }
}
