import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readRequestHead } from './request-head.ts'

function read(fields: readonly (readonly [string, string])[], version = '1.1') {
  return readRequestHead([['Host', 'haus.localhost'] as const, ...fields].flat(), version)
}

test('fields of the application keep their order and values; names are lower-cased', () => {
  const head = read([
    ['X-One', 'a'],
    ['Cookie', 'b=c'],
    ['x-one', 'd'],
  ])
  assert.deepEqual(head.fields, ['x-one', 'a', 'cookie', 'b=c', 'x-one', 'd'])
  assert.equal(head.host, 'haus.localhost')
})

test('fields of the connection, of the house, and of who is in front end here', () => {
  const head = read([
    ['Keep-Alive', 'timeout=9'],
    ['TE', 'trailers'],
    ['Trailer', 'x'],
    ['Proxy-Authorization', 'x'],
    ['HTTP2-Settings', 'x'],
    ['X-Forwarded-For', '10.0.0.1'],
    ['x-forwarded-anything', 'x'],
    ['Forwarded', 'for=10.0.0.1'],
    ['X-Real-IP', '10.0.0.1'],
    ['X_Forwarded_For', '10.0.0.1'],
    ['Any_Thing', 'x'],
    ['Haus-Caller', 'admin'],
    ['Haus-Relay-Secret', 'x'],
  ])
  assert.deepEqual(head.fields, [])
  assert.equal(head.fault, null)
})

test('what two programs could read differently is refused, and the field is named', () => {
  for (const [field, fields, version = '1.1'] of [
    ['host', [['host', 'other']]],
    [
      'authorization',
      [
        ['Authorization', 'a'],
        ['authorization', 'b'],
      ],
    ],
    [
      'haus-token',
      [
        ['Haus-Token', 'a'],
        ['HAUS-TOKEN', 'a'],
      ],
    ],
    ['transfer-encoding', [['Transfer-Encoding', 'gzip, chunked']]],
    [
      'transfer-encoding',
      [
        ['Transfer-Encoding', 'chunked'],
        ['Transfer-Encoding', 'chunked'],
      ],
    ],
    ['transfer-encoding', [['Transfer-Encoding', 'chunked']], '1.0'],
    ['expect', [['Expect', 'tea']]],
  ] as const) {
    const head = read(fields, version)
    assert.ok(head.fault, field)
    assert.equal(head.faultField, field)
  }
  assert.equal(readRequestHead([], '1.1').faultField, 'host')
  assert.equal(readRequestHead([], '1.0').fault, null)
})

test('Connection takes away what it names, and may not name what somebody decides by', () => {
  const head = read([
    ['X-Gone', '1'],
    ['Connection', 'keep-alive, X-GONE'],
    ['X-Kept', '2'],
    ['connection', 'x-other'],
    ['X-Other', '3'],
  ])
  assert.deepEqual(head.fields, ['x-kept', '2'])
  for (const name of ['Host', 'authorization', 'COOKIE', 'X-Forwarded-For', 'Haus-Token']) {
    assert.equal(read([['Connection', name]]).faultField, 'connection', name)
  }
})

test('two traceparents are none, and so are two request ids', () => {
  const head = read([
    ['traceparent', 'a'],
    ['traceparent', 'b'],
    ['X-Request-Id', 'a'],
    ['X-Request-Id', 'b'],
  ])
  assert.equal(head.traceparent, '')
  assert.equal(head.requestId, '')
})

test('more than 100 fields are refused', () => {
  const many = Array.from({ length: 100 }, (_, place) => [`X-${place}`, '1'] as const)
  assert.equal(read(many.slice(1)).fault, null)
  assert.ok(read(many).fault)
})
