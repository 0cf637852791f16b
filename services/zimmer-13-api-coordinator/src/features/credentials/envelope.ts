/**
 * Envelope encryption of credential values.
 *
 *   root key -> HKDF subkey -> key-encryption key, versioned -> data key of one credential version
 *   -> the values
 *
 * A blob is `magic | format | algorithm | kek version | nonce 12 | ciphertext | tag 16`. What a
 * ciphertext belongs to is authenticated with it: house, credential id, version, field and format
 * for the values; house, credential id, version and key-encryption key for their data key. Only
 * ids that never change take part, so that a rename costs nothing and a row moved to another
 * place does not open. The key-encryption key in a blob's head has to be the row's: rewrapping a
 * data key under a newer one rewrites those four bytes and encrypts nothing again.
 *
 * Keys are chosen by their version. Nothing is ever tried with a second key.
 */
import {
  AuthenticationFailed,
  deriveKey,
  encodeFields,
  keySizeBytes,
  nonceSizeBytes,
  seal,
  Secret,
  tagSizeBytes,
  unseal,
  type Key,
  type Random,
} from '../../platform/crypto/index.ts'

const magic = Buffer.from('HAUS')
const format = 1
const algorithm = { aes256Gcm: 1 } as const
const formatAt = magic.length
const algorithmAt = formatAt + 1
const kekVersionAt = algorithmAt + 1
const headSizeBytes = kekVersionAt + 4

/** A random 256-bit key needs no format of its own: it is sealed bare. */
const wrappedSizeBytes = nonceSizeBytes + keySizeBytes + tagSizeBytes

const valuesField = 'values'

export interface KeyEncryptionKey {
  readonly version: number
  readonly key: Key
}

/** The place that a ciphertext belongs to. */
export interface VersionId {
  readonly houseId: string
  readonly credentialId: string
  readonly version: number
}

export interface SealedVersion {
  readonly kekVersion: number
  readonly wrappedKey: Buffer
  readonly blob: Buffer
}

/** The subkey that wraps key-encryption keys; held for as long as the house is open. */
export function deriveWrappingKey(root: Key): Key {
  return deriveKey(root, 'haus/credentials/key-encryption/v1')
}

export function newKeyEncryptionKey(version: number, random: Random): KeyEncryptionKey {
  return { version, key: new Secret(random.bytes(keySizeBytes)) }
}

export function wrapKeyEncryptionKey(
  wrappingKey: Key,
  houseId: string,
  kek: KeyEncryptionKey,
  random: Random,
): Buffer {
  return seal(wrappingKey, kek.key.reveal(), kekContext(houseId, kek.version), random)
}

/** @throws AuthenticationFailed */
export function unwrapKeyEncryptionKey(
  wrappingKey: Key,
  houseId: string,
  version: number,
  wrapped: Uint8Array,
): KeyEncryptionKey {
  return { version, key: unsealKey(wrappingKey, wrapped, kekContext(houseId, version)) }
}

/** Seals under a data key of its own: two versions never share one. */
export function sealVersion(
  kek: KeyEncryptionKey,
  id: VersionId,
  values: Uint8Array,
  random: Random,
): SealedVersion {
  const dataKey = new Secret(random.bytes(keySizeBytes))
  try {
    return {
      kekVersion: kek.version,
      wrappedKey: seal(kek.key, dataKey.reveal(), dataKeyContext(id, kek.version), random),
      blob: Buffer.concat([head(kek.version), seal(dataKey, values, valuesContext(id), random)]),
    }
  } finally {
    wipeKey(dataKey)
  }
}

/**
 * The caller owns the returned buffer and wipes it.
 * @throws AuthenticationFailed whatever is wrong, from a flipped bit to another credential's row.
 */
export function openVersion(kek: KeyEncryptionKey, id: VersionId, sealed: SealedVersion): Buffer {
  const { blob, kekVersion, wrappedKey } = sealed
  if (kekVersion !== kek.version || !startsWithHead(blob, kekVersion)) {
    throw new AuthenticationFailed()
  }
  const dataKey = unsealKey(kek.key, wrappedKey, dataKeyContext(id, kekVersion))
  try {
    return unseal(dataKey, blob.subarray(headSizeBytes), valuesContext(id))
  } finally {
    wipeKey(dataKey)
  }
}

export function wipeKey(key: Key): void {
  key.reveal().fill(0)
}

function unsealKey(wrappingKey: Key, wrapped: Uint8Array, context: Buffer): Key {
  if (wrapped.length !== wrappedSizeBytes) throw new AuthenticationFailed()
  return new Secret(unseal(wrappingKey, wrapped, context))
}

function head(kekVersion: number): Buffer {
  const bytes = Buffer.alloc(headSizeBytes)
  magic.copy(bytes)
  bytes[formatAt] = format
  bytes[algorithmAt] = algorithm.aes256Gcm
  bytes.writeUInt32BE(kekVersion, kekVersionAt)
  return bytes
}

function startsWithHead(blob: Buffer, kekVersion: number): boolean {
  return blob.length >= headSizeBytes && blob.subarray(0, headSizeBytes).equals(head(kekVersion))
}

function kekContext(houseId: string, version: number): Buffer {
  return encodeFields('haus/credentials/key-encryption-key', houseId, version)
}

function dataKeyContext(id: VersionId, kekVersion: number): Buffer {
  return encodeFields(
    'haus/credentials/data-key',
    id.houseId,
    id.credentialId,
    id.version,
    kekVersion,
  )
}

function valuesContext(id: VersionId): Buffer {
  return encodeFields(
    'haus/credentials/values',
    id.houseId,
    id.credentialId,
    id.version,
    valuesField,
    format,
  )
}
