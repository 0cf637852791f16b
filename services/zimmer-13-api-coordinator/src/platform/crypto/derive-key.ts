/**
 * One root, many keys: each purpose has its own, so that what one leaks or signs means nothing to
 * another. HKDF-SHA256 (RFC 5869). It keeps nothing: callers derive once and hold the result.
 */
import { hkdfSync } from 'node:crypto'
import { Secret } from './secret.ts'

export const keySizeBytes = 32

/** 256 bits. */
export type Key = Secret<Buffer>

/** What the key is for, and the version of how it is used; a change of use is a new version. */
export type KeyLabel = `haus/${string}/v${number}`

const noSalt = Buffer.alloc(0)

/**
 * The salt is for the step from the key file to the house, which binds every key below it to the
 * house id; further down the label alone tells keys apart.
 */
export function deriveKey(root: Key, label: KeyLabel, salt: Uint8Array = noSalt): Key {
  const secret = root.reveal()
  // HKDF takes a key of any length, the empty one too, and would hide the mistake for ever.
  if (secret.length !== keySizeBytes) {
    throw new RangeError(`a root key has ${keySizeBytes} bytes, this one has ${secret.length}`)
  }
  return new Secret(Buffer.from(hkdfSync('sha256', secret, salt, label, keySizeBytes)))
}
