/**
 * Turns a list of fields into the bytes that a MAC or an AEAD authenticates, such that two
 * different lists never give the same bytes. Joining with a separator would: ("a", "bc") and
 * ("ab", "c") are one attack apart. Each field is its type, its length and its content; it is
 * never decoded, and it refuses what has no single encoding.
 */
export type Field = string | number | boolean | null | Date | Uint8Array | readonly Field[]

const tags = {
  null: 0x30,
  text: 0x31,
  integer: 0x32,
  boolean: 0x33,
  time: 0x34,
  bytes: 0x35,
  list: 0x36,
} as const

/** A tag and a 32-bit length. */
const headSizeBytes = 5

export function encodeFields(...fields: readonly Field[]): Buffer {
  const encoded = Buffer.allocUnsafe(sizeOf(fields))
  writeFields(encoded, 0, fields)
  return encoded
}

function sizeOf(fields: readonly Field[]): number {
  let size = 0
  for (const field of fields) size += headSizeBytes + contentSizeOf(field)
  return size
}

function contentSizeOf(field: Field): number {
  if (field === null) return 0
  if (typeof field === 'string') return Buffer.byteLength(field)
  if (typeof field === 'boolean') return 1
  if (typeof field === 'number' || field instanceof Date) return 8
  if (field instanceof Uint8Array) return field.length
  return sizeOf(field)
}

function writeFields(target: Buffer, start: number, fields: readonly Field[]): number {
  let at = start
  for (const field of fields) at = writeField(target, at, field)
  return at
}

function writeField(target: Buffer, start: number, field: Field): number {
  target.writeUInt32BE(contentSizeOf(field), start + 1)
  const at = start + headSizeBytes
  if (field === null) {
    target[start] = tags.null
    return at
  }
  if (typeof field === 'string') {
    // Every lone surrogate becomes the same replacement character: two names, one encoding.
    if (!field.isWellFormed()) throw new TypeError('a field is not well-formed Unicode')
    target[start] = tags.text
    return at + target.write(field, at)
  }
  if (typeof field === 'boolean') {
    target[start] = tags.boolean
    return target.writeUInt8(field ? 1 : 0, at)
  }
  if (typeof field === 'number') {
    if (!Number.isSafeInteger(field)) throw new RangeError('a number field is not a safe integer')
    target[start] = tags.integer
    return target.writeBigInt64BE(BigInt(field), at)
  }
  if (field instanceof Date) {
    const ms = field.getTime()
    if (Number.isNaN(ms)) throw new RangeError('a time field is not a time')
    target[start] = tags.time
    return target.writeBigInt64BE(BigInt(ms), at)
  }
  if (field instanceof Uint8Array) {
    target[start] = tags.bytes
    target.set(field, at)
    return at + field.length
  }
  target[start] = tags.list
  return writeFields(target, at, field)
}
