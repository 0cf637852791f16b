/** The primitives. What they protect, and under which label, is the features' business. */
export { AuthenticationFailed, nonceSizeBytes, seal, tagSizeBytes, unseal } from './aes-gcm.ts'
export { deriveKey, keySizeBytes, type Key } from './derive-key.ts'
export { encodeFields } from './encode-fields.ts'
export { equalBytes, mac, rowMac, rowMacMatches, type Columns } from './mac.ts'
export { systemRandom, type Random } from './random.ts'
export { Secret } from './secret.ts'
