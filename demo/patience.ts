/**
 * What a client of a busy house does: it waits as it is told, and asks for the same again.
 *
 * A write that cannot be confirmed within 250 ms is refused rather than waited for, which a laptop
 * that does something else can bring about. Everything the demo writes is safe to repeat; a promise
 * about the time after a write counts from its answer.
 */
import { HausApiError, isTransient } from '@haus/sdk/client'

/** Longer than any stall of a working machine; a house that is busy for longer is a failure. */
const patienceMs = 15_000
const waitMs = 250

/**
 * @param settled tells of a refusal that only a try before, whose outcome was not known, can have
 * caused: then it looks up what that one has written.
 */
export async function patiently<T>(
  act: () => Promise<T>,
  settled?: { readonly code: string; readonly lookUp: () => Promise<T> },
): Promise<T> {
  const untilMs = performance.now() + patienceMs
  for (let tries = 0; ; tries += 1) {
    try {
      return await act()
    } catch (error) {
      const again = tries > 0 && error instanceof HausApiError && error.code === settled?.code
      if (again) return await settled.lookUp()
      if (!isTransient(error) || performance.now() > untilMs) throw error
      const retryAfterMs = error instanceof HausApiError ? error.retryAfterMs : null
      await new Promise((resolve) => setTimeout(resolve, retryAfterMs ?? waitMs))
    }
  }
}
