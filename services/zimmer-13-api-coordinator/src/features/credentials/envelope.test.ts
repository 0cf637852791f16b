import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  AuthenticationFailed,
  Secret,
  systemRandom,
  type Key,
} from '../../platform/crypto/index.ts'
import {
  deriveWrappingKey,
  newKeyEncryptionKey,
  openVersion,
  sealVersion,
  unwrapKeyEncryptionKey,
  wrapKeyEncryptionKey,
  type SealedVersion,
  type VersionId,
} from './envelope.ts'

const root: Key = new Secret(Buffer.alloc(32, 1))
const kek = newKeyEncryptionKey(1, systemRandom)

const versionId: fc.Arbitrary<VersionId> = fc.record({
  houseId: fc.uuid(),
  credentialId: fc.uuid(),
  version: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
})
const values = fc.uint8Array({ maxLength: 200 })

function flip(bytes: Buffer, bit: number): Buffer {
  const flipped = Buffer.from(bytes)
  flipped[bit >> 3]! ^= 1 << (bit & 7)
  return flipped
}

const refused = (open: () => unknown): void => assert.throws(open, AuthenticationFailed)

test('whatever is sealed opens again, byte for byte', () => {
  fc.assert(
    fc.property(versionId, values, (id, plaintext) => {
      const opened = openVersion(kek, id, sealVersion(kek, id, plaintext, systemRandom))
      assert.deepEqual(new Uint8Array(opened), plaintext)
    }),
    { numRuns: 500 },
  )
})

test('values of 64 KiB, any text in them, open again', () => {
  const id: VersionId = { houseId: 'h', credentialId: 'c', version: 1 }
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.string({ unit: 'binary', maxLength: 8192 })),
      (data) => {
        const text = JSON.stringify(data)
        const sealed = sealVersion(kek, id, Buffer.from(text), systemRandom)
        assert.equal(openVersion(kek, id, sealed).toString(), text)
      },
    ),
    { numRuns: 50 },
  )
})

test('no bit of a blob or of a wrapped key can be flipped, wherever it is', () => {
  const id: VersionId = { houseId: 'h', credentialId: 'c', version: 3 }
  const sealed = sealVersion(kek, id, Buffer.from('{"password":"p"}'), systemRandom)
  for (let bit = 0; bit < sealed.blob.length * 8; bit++) {
    refused(() => openVersion(kek, id, { ...sealed, blob: flip(sealed.blob, bit) }))
  }
  for (let bit = 0; bit < sealed.wrappedKey.length * 8; bit++) {
    refused(() => openVersion(kek, id, { ...sealed, wrappedKey: flip(sealed.wrappedKey, bit) }))
  }
})

test('a blob or wrapped key that is cut short or prolonged does not open', () => {
  fc.assert(
    fc.property(versionId, values, fc.nat(), (id, plaintext, at) => {
      const sealed = sealVersion(kek, id, plaintext, systemRandom)
      for (const column of ['blob', 'wrappedKey'] as const) {
        const bytes = sealed[column]
        const cut = bytes.subarray(0, at % bytes.length)
        refused(() => openVersion(kek, id, { ...sealed, [column]: cut }))
        const longer = Buffer.concat([bytes, Buffer.of(0)])
        refused(() => openVersion(kek, id, { ...sealed, [column]: longer }))
      }
    }),
  )
})

test('no column moves between two versions or credentials, alone or with the whole row', () => {
  fc.assert(
    fc.property(versionId, versionId, values, values, (a, b, first, second) => {
      fc.pre(a.credentialId !== b.credentialId || a.version !== b.version)
      const rowA = sealVersion(kek, a, first, systemRandom)
      const rowB = sealVersion(kek, b, second, systemRandom)
      refused(() => openVersion(kek, a, rowB))
      refused(() => openVersion(kek, b, rowA))
      refused(() => openVersion(kek, a, { ...rowA, blob: rowB.blob }))
      refused(() => openVersion(kek, a, { ...rowA, wrappedKey: rowB.wrappedKey }))
    }),
  )
})

test('nothing opens under another house, credential, version or key version', () => {
  fc.assert(
    fc.property(versionId, versionId, values, (id, other, plaintext) => {
      const sealed = sealVersion(kek, id, plaintext, systemRandom)
      for (const field of ['houseId', 'credentialId', 'version'] as const) {
        fc.pre(id[field] !== other[field])
        refused(() => openVersion(kek, { ...id, [field]: other[field] }, sealed))
      }
      const renumbered: SealedVersion = { ...sealed, kekVersion: 2 }
      refused(() => openVersion(kek, id, renumbered))
      refused(() => openVersion({ ...kek, version: 2 }, id, renumbered))
      refused(() => openVersion(newKeyEncryptionKey(1, systemRandom), id, sealed))
    }),
  )
})

test('two seals of the same values share neither nonce nor key', () => {
  const id: VersionId = { houseId: 'h', credentialId: 'c', version: 1 }
  const seals = Array.from({ length: 200 }, () =>
    sealVersion(kek, id, Buffer.from('same'), systemRandom),
  )
  assert.equal(new Set(seals.map(({ blob }) => blob.toString('hex'))).size, seals.length)
  assert.equal(new Set(seals.map(({ wrappedKey }) => wrappedKey.toString('hex'))).size, 200)
})

test('a key-encryption key opens for its house, its version and its root only', () => {
  fc.assert(
    fc.property(fc.uuid(), fc.uuid(), fc.integer({ min: 1, max: 9 }), (house, other, version) => {
      fc.pre(house !== other)
      const wrapping = deriveWrappingKey(root)
      const made = newKeyEncryptionKey(version, systemRandom)
      const wrapped = wrapKeyEncryptionKey(wrapping, house, made, systemRandom)
      const opened = unwrapKeyEncryptionKey(wrapping, house, version, wrapped)
      assert.ok(opened.key.reveal().equals(made.key.reveal()))
      refused(() => unwrapKeyEncryptionKey(wrapping, other, version, wrapped))
      refused(() => unwrapKeyEncryptionKey(wrapping, house, version + 1, wrapped))
      const wrongRoot = deriveWrappingKey(new Secret(Buffer.alloc(32, 2)))
      refused(() => unwrapKeyEncryptionKey(wrongRoot, house, version, wrapped))
    }),
  )
  const wrapping = deriveWrappingKey(root)
  const wrapped = wrapKeyEncryptionKey(wrapping, 'h', kek, systemRandom)
  for (let bit = 0; bit < wrapped.length * 8; bit++) {
    refused(() => unwrapKeyEncryptionKey(wrapping, 'h', kek.version, flip(wrapped, bit)))
  }
})
