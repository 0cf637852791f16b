/** Randomness and ids as an argument, so that tests can repeat a run from its seed. */
import { randomBytes, randomUUIDv7 } from 'node:crypto'

export interface Random {
  /** Unpredictable bytes, for keys and nonces. */
  bytes(size: number): Buffer
  /** A UUIDv7 (RFC 9562): sorts by creation time, which keeps index inserts local. */
  id(): string
  /** [0, 1), for balancing and jitter only. */
  unit(): number
}

export const systemRandom: Random = {
  bytes: (size) => randomBytes(size),
  id: () => randomUUIDv7(),
  unit: () => Math.random(),
}
