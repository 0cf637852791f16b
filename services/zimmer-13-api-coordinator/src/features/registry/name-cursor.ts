/** Keyset cursors over names: opaque and versioned, so that their form may change. */
import { HausError } from '@haus/contract'

const prefix = 'n1.'

export function cursorAfter(name: string): string {
  return prefix + Buffer.from(name).toString('base64url')
}

/** The name after which the page starts. @throws HausError invalid_request */
export function nameOf(cursor: string | undefined): string {
  if (cursor === undefined) return ''
  const name = Buffer.from(cursor.slice(prefix.length), 'base64url').toString()
  if (!cursor.startsWith(prefix) || cursorAfter(name) !== cursor) {
    const detail = 'must be the nextCursor of the page before'
    throw new HausError('invalid_request', `query.cursor ${detail}; leave it out to start anew.`, {
      fields: [{ field: 'query.cursor', detail }],
    })
  }
  return name
}
