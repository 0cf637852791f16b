/**
 * AES-256-GCM with a random 96-bit nonce: `nonce | ciphertext | tag`.
 *
 * Random nonces are safe up to some 2^32 messages per key (NIST SP 800-38D, section 8.3), so a key
 * that seals without end must be versioned by its owner. What the ciphertext belongs to goes into
 * `additionalData`, through `encodeFields`: it is what makes a moved ciphertext unreadable.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import type { Key } from './derive-key.ts'
import type { Random } from './random.ts'

const algorithm = 'aes-256-gcm'
export const nonceSizeBytes = 12
export const tagSizeBytes = 16

/** The key, the additional data or the bytes are not those that were sealed. Says no more, on purpose. */
export class AuthenticationFailed extends Error {
  override readonly name = 'AuthenticationFailed'

  constructor() {
    super('the sealed data did not authenticate')
  }
}

export function seal(
  key: Key,
  plaintext: Uint8Array,
  additionalData: Uint8Array,
  random: Random,
): Buffer {
  const nonce = random.bytes(nonceSizeBytes)
  const cipher = createCipheriv(algorithm, key.reveal(), nonce, { authTagLength: tagSizeBytes })
  cipher.setAAD(additionalData)
  const body = cipher.update(plaintext)
  const end = cipher.final()
  return Buffer.concat([nonce, body, end, cipher.getAuthTag()])
}

/** @throws AuthenticationFailed */
export function unseal(key: Key, sealed: Uint8Array, additionalData: Uint8Array): Buffer {
  const bodyEnd = sealed.length - tagSizeBytes
  if (bodyEnd < nonceSizeBytes) throw new AuthenticationFailed()
  // Without a stated length Node takes a tag of 4 bytes, which is guessed in an afternoon.
  const decipher = createDecipheriv(algorithm, key.reveal(), sealed.subarray(0, nonceSizeBytes), {
    authTagLength: tagSizeBytes,
  })
  decipher.setAAD(additionalData)
  decipher.setAuthTag(sealed.subarray(bodyEnd))
  const plaintext = decipher.update(sealed.subarray(nonceSizeBytes, bodyEnd))
  try {
    decipher.final()
  } catch {
    plaintext.fill(0)
    throw new AuthenticationFailed()
  }
  return plaintext
}
