/**
 * Keyset cursors: where a list goes on, as an opaque text. Versioned, so that a later form can be
 * told from this one; not signed, because it only says what the caller could ask for anyway.
 */
import { HausError } from '@haus/contract'

const version = '1'

export function encodeCursor(key: string): string {
  return Buffer.from(`${version}:${key}`, 'utf8').toString('base64url')
}

/** @throws HausError invalid_request when the text is not a cursor of this house. */
export function decodeCursor(cursor: string | undefined): string | null {
  if (cursor === undefined) return null
  const text = Buffer.from(cursor, 'base64url').toString('utf8')
  if (!text.startsWith(`${version}:`) || encodeCursor(text.slice(version.length + 1)) !== cursor) {
    throw new HausError(
      'invalid_request',
      'The cursor is not one of this list: send `nextCursor` as it came, or none to begin again.',
      { fields: [{ field: 'query.cursor', detail: 'is not a cursor of this list' }] },
    )
  }
  return text.slice(version.length + 1)
}

/** A page from one row more than was asked for: the extra one tells that there are more. */
export function pageFrom<Row>(
  rows: readonly Row[],
  limit: number,
  keyOf: (row: Row) => string,
): { items: Row[]; nextCursor: string | null } {
  const items = rows.slice(0, limit)
  const last = items.at(-1)
  return { items, nextCursor: rows.length > limit && last ? encodeCursor(keyOf(last)) : null }
}
