/**
 * Page cursors of the list: the name that the last page ended with, under a MAC, so that a client
 * cannot come to rely on what is inside.
 */
import { HausError } from '@haus/contract'
import { deriveKey, equalBytes, mac, type Key } from '../../platform/crypto/index.ts'

const format = 1
/** 96 bits: a cursor grants nothing, it only has to be whole. */
const macSizeBytes = 12

export class Cursors {
  readonly #key: Key

  constructor(rootKey: Key, houseId: string) {
    this.#key = deriveKey(rootKey, 'haus/credentials/cursor/v1', Buffer.from(houseId))
  }

  format(name: string): string {
    return Buffer.concat([Buffer.of(format), this.#macOf(name), Buffer.from(name)]).toString(
      'base64url',
    )
  }

  /** @throws HausError invalid_request */
  parse(cursor: string): string {
    const bytes = Buffer.from(cursor, 'base64url')
    const name = bytes.subarray(1 + macSizeBytes).toString()
    if (
      bytes[0] === format &&
      name.isWellFormed() &&
      equalBytes(this.#macOf(name), bytes.subarray(1, 1 + macSizeBytes)) &&
      // Decoding passes over what is not base64url; only one text is the cursor.
      bytes.toString('base64url') === cursor
    ) {
      return name
    }
    const detail = 'must be the nextCursor of a page before; leave it out to start again'
    throw new HausError('invalid_request', `query.cursor ${detail}.`, {
      fields: [{ field: 'query.cursor', detail }],
    })
  }

  #macOf(name: string): Buffer {
    return mac(this.#key, name).subarray(0, macSizeBytes)
  }
}
