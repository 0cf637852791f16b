import assert from 'node:assert/strict'
import { createHmac, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { AuthenticationFailed, seal, unseal } from './aes-gcm.ts'
import { deriveKey } from './derive-key.ts'
import { encodeFields, type Field } from './encode-fields.ts'
import { equalBytes, rowMac, rowMacMatches } from './mac.ts'
import { systemRandom } from './random.ts'
import { Secret } from './secret.ts'

const root = new Secret(Buffer.alloc(32, 7))
const key = deriveKey(root, 'haus/test/v1')

const { field } = fc.letrec<{ field: Field }>((tie) => ({
  field: fc.oneof(
    { maxDepth: 2 },
    fc.string({ unit: 'binary', maxLength: 4 }),
    fc.integer({ min: -2, max: 70_000 }),
    fc.boolean(),
    fc.constant(null),
    fc.integer({ min: 0, max: 3 }).map((ms) => new Date(ms)),
    fc.uint8Array({ maxLength: 4 }),
    fc.array(tie('field'), { maxLength: 3 }),
  ),
}))

/** An injective description to compare with: what the fields mean, not how they are encoded. */
function meaning(value: Field): string {
  if (value instanceof Date) return `time ${value.getTime()}`
  if (value instanceof Uint8Array) return `bytes ${Buffer.from(value).toString('hex')}`
  if (value === null || typeof value !== 'object') return `${typeof value} ${JSON.stringify(value)}`
  return JSON.stringify(value.map(meaning))
}

test('encodeFields gives different bytes to different fields', () => {
  const fields = fc.array(field, { maxLength: 4 })
  fc.assert(
    fc.property(fields, fields, (a, b) => {
      assert.equal(meaning(a) === meaning(b), encodeFields(...a).equals(encodeFields(...b)))
    }),
    { numRuns: 2_000 },
  )
})

test('encodeFields tells apart fields whose joined text is the same', () => {
  const cases: Field[][] = [
    ['a', 'bc'],
    ['ab', 'c'],
    ['abc'],
    ['abc', ''],
    ['', 'abc'],
    [['abc']],
    [['a', 'bc']],
    ['1'],
    [1],
    [true],
    [new Date(1)],
    [Buffer.from('1')],
    [null],
    [''],
    [[]],
    [],
  ]
  assert.equal(
    new Set(cases.map((each) => encodeFields(...each).toString('hex'))).size,
    cases.length,
  )
})

test('encodeFields refuses what has no single encoding', () => {
  assert.throws(() => encodeFields('\ud800'), /well-formed/)
  assert.throws(() => encodeFields(0.5), /safe integer/)
  assert.throws(() => encodeFields(2 ** 53), /safe integer/)
  assert.throws(() => encodeFields(new Date(Number.NaN)), /not a time/)
})

test('the MAC of a row fails when any column, the table or the key changes', () => {
  const columns = fc.record({
    id: fc.uuid(),
    owner: fc.string({ unit: 'binary' }),
    hash: fc.uint8Array({ minLength: 1, maxLength: 32 }),
    createdAt: fc.date({ noInvalidDate: true }),
    endedAt: fc.option(fc.date({ noInvalidDate: true })),
  })
  fc.assert(
    fc.property(columns, columns, (row, other) => {
      const made = rowMac(key, 'haus.table', row)
      assert.ok(rowMacMatches(key, 'haus.table', row, made))
      assert.ok(!rowMacMatches(key, 'haus.other', row, made))
      assert.ok(!rowMacMatches(deriveKey(root, 'haus/test/v2'), 'haus.table', row, made))
      for (const name of ['id', 'owner', 'hash', 'createdAt', 'endedAt'] as const) {
        if (meaning(row[name]) === meaning(other[name])) continue
        assert.ok(!rowMacMatches(key, 'haus.table', { ...row, [name]: other[name] }, made), name)
      }
    }),
  )
})

test('the MAC of a row fails when two columns exchange their values', () => {
  const made = rowMac(key, 'haus.table', { a: 'x', b: 'y' })
  assert.ok(!rowMacMatches(key, 'haus.table', { a: 'y', b: 'x' }, made))
  assert.ok(!rowMacMatches(key, 'haus.table', { b: 'x', a: 'y' }, made))
})

test('the MAC of a row fails when one of its bits is flipped or it is cut short', () => {
  const made = rowMac(key, 'haus.table', { a: 'x' })
  for (let bit = 0; bit < made.length * 8; bit += 1) {
    const flipped = Buffer.from(made)
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    assert.ok(!rowMacMatches(key, 'haus.table', { a: 'x' }, flipped))
  }
  assert.ok(!rowMacMatches(key, 'haus.table', { a: 'x' }, made.subarray(0, 16)))
  assert.ok(!rowMacMatches(key, 'haus.table', { a: 'x' }, Buffer.alloc(0)))
})

test('a row with a value that no encoding takes fails its check instead of throwing', () => {
  const made = rowMac(key, 'haus.table', { a: 1 })
  assert.ok(!rowMacMatches(key, 'haus.table', { a: Number.POSITIVE_INFINITY }, made))
  assert.ok(!rowMacMatches(key, 'haus.table', { a: new Date(Number.NaN) }, made))
  assert.ok(!rowMacMatches(key, 'haus.table', { a: '\ud800' }, made))
})

test('a derived key is that of RFC 5869, written out by hand', () => {
  const prk = createHmac('sha256', Buffer.alloc(32)).update(root.reveal()).digest()
  const known = createHmac('sha256', prk).update('haus/test/v1').update(Buffer.of(1)).digest()
  assert.equal(key.reveal().toString('hex'), known.toString('hex'))
})

test('one label gives one key, and every other label, root or salt another', () => {
  const other = new Secret(Buffer.alloc(32, 8))
  const keys = [
    deriveKey(root, 'haus/a/v1'),
    deriveKey(root, 'haus/a/v2'),
    deriveKey(root, 'haus/b/v1'),
    deriveKey(root, 'haus/a/v1', Buffer.from('salt')),
    deriveKey(other, 'haus/a/v1'),
  ].map((each) => each.reveal().toString('hex'))
  assert.equal(new Set(keys).size, keys.length)
  assert.equal(deriveKey(root, 'haus/a/v1').reveal().toString('hex'), keys[0])
})

test('a root of the wrong length is refused instead of stretched', () => {
  assert.throws(() => deriveKey(new Secret(Buffer.alloc(0)), 'haus/a/v1'), RangeError)
  assert.throws(() => deriveKey(new Secret(Buffer.alloc(16)), 'haus/a/v1'), RangeError)
})

test('what is sealed opens again, and with no flipped bit, other key or other context', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 40 }),
      fc.uint8Array({ maxLength: 8 }),
      fc.nat(),
      (text, aad, at) => {
        const sealed = seal(key, text, aad, systemRandom)
        assert.deepEqual(new Uint8Array(unseal(key, sealed, aad)), text)
        const flipped = Buffer.from(sealed)
        flipped[at % sealed.length]! ^= 1 << (at % 8)
        assert.throws(() => unseal(key, flipped, aad), AuthenticationFailed)
        assert.throws(() => unseal(root, sealed, aad), AuthenticationFailed)
        assert.throws(
          () => unseal(key, sealed, Buffer.concat([aad, Buffer.of(0)])),
          AuthenticationFailed,
        )
        assert.throws(
          () => unseal(key, sealed.subarray(0, at % sealed.length), aad),
          AuthenticationFailed,
        )
      },
    ),
  )
})

test('a nonce is never used twice', () => {
  const sealed = Array.from({ length: 1_000 }, () =>
    seal(key, Buffer.of(1), Buffer.of(), systemRandom),
  )
  assert.equal(new Set(sealed.map((each) => each.subarray(0, 12).toString('hex'))).size, 1_000)
})

test('equalBytes tells equal from unequal without throwing on lengths', () => {
  const bytes = randomBytes(32)
  assert.ok(equalBytes(bytes, Buffer.from(bytes)))
  assert.ok(!equalBytes(bytes, bytes.subarray(1)))
  assert.ok(!equalBytes(bytes, Buffer.alloc(32)))
})
