/**
 * Request ids in the form of a UUID. A fresh one from the generator costs 250 to 500 ns, which a
 * read of 10 µs feels; so one is made per 65,536 requests, and its last group counts. They name
 * a request in answers, logs and the audit, and are no secret.
 */
import type { Random } from '../crypto/random.ts'

const perPrefix = 0x10000

/** What a caller may choose itself: short, and nothing that a log or a header could trip over. */
const givenPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{7,63}$/

export function createRequestIds(random: Random): (given: string | string[] | undefined) => string {
  let prefix = ''
  let count = perPrefix
  return (given) => {
    if (typeof given === 'string' && givenPattern.test(given)) return given
    if (count === perPrefix) {
      // All but the last four digits, which are the count.
      prefix = random.id().slice(0, 32)
      count = 0
    }
    const id = prefix + (perPrefix + count).toString(16).slice(1)
    count += 1
    return id
  }
}
