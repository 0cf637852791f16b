/**
 * HMAC-SHA-256 over fields, and over rows of the database.
 *
 * A row's MAC makes a writer in the database powerless to add or change a row that Haus believes.
 * It cannot show that a row is missing, nor that a whole row was put back as it once was.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Key } from './derive-key.ts'
import { encodeFields, type Field } from './encode-fields.ts'

export function mac(key: Key, ...fields: readonly Field[]): Buffer {
  return createHmac('sha256', key.reveal())
    .update(encodeFields(...fields))
    .digest()
}

/** In constant time for equal lengths; the length of a MAC is no secret. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}

/**
 * Columns go in by name, in the order of the object, so that two columns of one type cannot stand
 * in for each other; callers build the object in one place per table.
 */
export type Columns = Readonly<Record<string, Field>>

export function rowMac(key: Key, table: string, columns: Columns): Buffer {
  const fields: Field[] = ['row', table]
  for (const name in columns) fields.push(name, columns[name] ?? null)
  return mac(key, ...fields)
}

/**
 * A forged row can hold what no encoding takes, such as the time `infinity`: that is a failed
 * check too, and must not keep the house from starting.
 */
export function rowMacMatches(
  key: Key,
  table: string,
  columns: Columns,
  found: Uint8Array,
): boolean {
  try {
    return equalBytes(rowMac(key, table, columns), found)
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError) return false
    throw error
  }
}
