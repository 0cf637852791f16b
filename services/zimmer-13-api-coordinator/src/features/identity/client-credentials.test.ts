import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { readClientCredentials } from './client-credentials.ts'

const formEncode = (text: string): string => new URLSearchParams([['', text]]).toString().slice(1)

const basicOf = (id: string, secret: string): string =>
  `Basic ${Buffer.from(`${formEncode(id)}:${formEncode(secret)}`).toString('base64')}`

test('HTTP Basic carries any id and secret, form-encoded as RFC 6749 asks', () => {
  const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 })
  fc.assert(
    fc.property(text, text, (id, secret) => {
      assert.deepEqual(readClientCredentials(basicOf(id, secret), {}), {
        clientId: id,
        clientSecret: secret,
      })
    }),
  )
})

test('clients that do not form-encode are understood as long as it makes no difference', () => {
  const plain = Buffer.from('01933b6e-7c00-7000-8000-000000000001:hsk_Ab-_9').toString('base64')
  assert.deepEqual(readClientCredentials(`basic ${plain}`, {}), {
    clientId: '01933b6e-7c00-7000-8000-000000000001',
    clientSecret: 'hsk_Ab-_9',
  })
})

test('the body is taken where there is no header', () => {
  assert.deepEqual(readClientCredentials(undefined, { client_id: 'a', client_secret: 'b' }), {
    clientId: 'a',
    clientSecret: 'b',
  })
})

test('a client that is not named is an invalid client', () => {
  for (const body of [{}, { client_id: 'a' }, { client_secret: 'b' }]) {
    assert.throws(() => readClientCredentials(undefined, body), { code: 'invalid_client' })
  }
})

test('two ways at once, or a header that is none, is an invalid request', () => {
  const basic = basicOf('a', 'b')
  assert.throws(() => readClientCredentials(basic, { client_id: 'a', client_secret: 'b' }), {
    code: 'invalid_request',
  })
  assert.throws(() => readClientCredentials(basic, { client_id: 'c' }), { code: 'invalid_request' })
  assert.deepEqual(readClientCredentials(basic, { client_id: 'a' }).clientId, 'a')
  const wrong = [
    'Bearer abc',
    'Basic',
    'Basic ',
    'Basic !!!',
    `Basic ${Buffer.from('no colon').toString('base64')}`,
    `Basic ${Buffer.from(':no id').toString('base64')}`,
    `Basic ${Buffer.from('a%zz:b').toString('base64')}`,
    `Basic ${Buffer.from(`a:${'b'.repeat(5_000)}`).toString('base64')}`,
  ]
  for (const header of wrong) {
    assert.throws(() => readClientCredentials(header, {}), { code: 'invalid_request' }, header)
  }
})
