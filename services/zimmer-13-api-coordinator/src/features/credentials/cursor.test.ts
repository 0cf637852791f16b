import assert from 'node:assert/strict'
import { test } from 'node:test'
import { credentialNamePattern } from '@haus/contract'
import fc from 'fast-check'
import { Secret } from '../../platform/crypto/index.ts'
import { Cursors } from './cursor.ts'

const cursors = new Cursors(new Secret(Buffer.alloc(32, 1)), 'house')
const name = fc.stringMatching(new RegExp(credentialNamePattern))
const refusal = (error: { code: string; fields: { field: string }[] }): boolean =>
  error.code === 'invalid_request' && error.fields[0]?.field === 'query.cursor'

test('a cursor is read back as the name it was made of', () => {
  fc.assert(fc.property(name, (each) => assert.equal(cursors.parse(cursors.format(each)), each)))
})

test('anything else is refused by its field: other texts, changed cursors, those of another house', () => {
  const others = new Cursors(new Secret(Buffer.alloc(32, 1)), 'another house')
  fc.assert(
    fc.property(name, fc.string(), fc.nat(), (each, text, at) => {
      const cursor = cursors.format(each)
      const place = at % cursor.length
      const changed = `${cursor.slice(0, place)}${cursor[place] === 'A' ? 'B' : 'A'}${cursor.slice(place + 1)}`
      for (const tampered of [text, changed, `${cursor}=`, ` ${cursor}`, cursor.slice(0, place)]) {
        assert.throws(() => cursors.parse(tampered), refusal)
      }
      assert.throws(() => others.parse(cursor), refusal)
    }),
  )
})
