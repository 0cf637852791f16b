import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readAnswerHead } from './answer-head.ts'

function read(fields: readonly string[], status = 200) {
  return readAnswerHead(
    fields.map((text) => Buffer.from(text, 'latin1')),
    status,
  )
}

test('fields arrive as the service wrote them, every Set-Cookie apart, bytes above ASCII too', () => {
  const fields = ['set-cookie', 'a=1', 'set-cookie', 'b=2', 'x-name', 'Z\u00fcrich']
  assert.deepEqual(read(fields).fields, fields)
})

test('what belongs to the connection, and what would pass for the gateway, ends here', () => {
  const head = read(
    ['Connection', 'X-Inner', 'X-Inner', 'secret', 'Keep-Alive', 'timeout=5', 'Upgrade', 'h2c']
      .concat(['Transfer-Encoding', 'chunked', 'Haus-Source', 'gateway', 'X-Request-Id', 'x'])
      .concat(['X-Kept', '1']),
  )
  assert.deepEqual(head.fields, ['x-kept', '1'])
})

test('a length is kept and known, except where there may be none', () => {
  assert.equal(read(['Content-Length', '5']).contentLength, 5)
  assert.equal(read(['Content-Length', '5', 'Connection', 'content-length']).contentLength, 5)
  assert.deepEqual(read(['Content-Length', '0'], 204).fields, [])
  assert.equal(read([]).contentLength, -1)
  assert.ok(read(['Content-Type', 'text/event-stream; charset=utf-8']).isEventStream)
})
