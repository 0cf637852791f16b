import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AnswerFault, readAnswerHead } from './answer-head.ts'

function read(lines: readonly string[], start = 'HTTP/1.1 200 OK') {
  return readAnswerHead([start, ...lines].join('\r\n'))
}

test('fields arrive as the service wrote them, every Set-Cookie apart, bytes above ASCII too', () => {
  assert.deepEqual(
    read(['Set-Cookie: a=1', 'set-cookie:b=2', 'X-Name: \t Z\u00fcrich \t']).fields,
    ['set-cookie', 'a=1', 'set-cookie', 'b=2', 'x-name', 'Z\u00fcrich'],
  )
})

test('what belongs to the connection, and what would pass for the gateway, ends here', () => {
  const head = read([
    'Connection: X-Inner',
    'X-Inner: secret',
    'Keep-Alive: timeout=5',
    'Upgrade: h2c',
    'Transfer-Encoding: chunked',
    'Haus-Source: gateway',
    'X-Request-Id: x',
    'X-Kept: 1',
  ])
  assert.deepEqual(head.fields, ['x-kept', '1'])
})

test('a length is kept and known, except where there may be none', () => {
  assert.equal(read(['Content-Length: 5']).contentLength, 5)
  const nominated = read(['Content-Length: 5', 'Connection: content-length'])
  assert.deepEqual(nominated.fields, ['content-length', '5'])
  assert.deepEqual(read(['Content-Length: 0'], 'HTTP/1.1 204 No Content').fields, [])
  assert.equal(read([]).contentLength, -1)
  assert.ok(read(['Content-Type: text/event-stream; charset=utf-8']).isEventStream)
})

test('a connection is kept as its version and its fields say', () => {
  assert.equal(read([]).keeps, true)
  assert.equal(read(['Connection: Close']).keeps, false)
  assert.equal(read(['Connection: x, close', 'Connection: y']).keeps, false)
  assert.equal(read([], 'HTTP/1.0 200 OK').keeps, false)
  assert.equal(read(['Connection: Keep-Alive'], 'HTTP/1.0 200 OK').keeps, true)
  assert.equal(read(['Keep-Alive: timeout=7, max=100']).keepsForMs, 7_000)
  assert.equal(read(['Keep-Alive: max=100']).keepsForMs, null)
})

test('a status line needs no reason', () => {
  assert.equal(read([], 'HTTP/1.1 200').status, 200)
  assert.equal(read([], 'HTTP/1.1 599 ').status, 599)
})

for (const [what, start, ...lines] of [
  ['another protocol', 'SSH-2.0-OpenSSH_9.2'],
  ['HTTP/2 in words', 'HTTP/2 200 OK'],
  ['a version without a point', 'HTTP/11 200 OK'],
  ['a status of two digits', 'HTTP/1.1 20 OK'],
  ['a status of four', 'HTTP/1.1 2000 OK'],
  ['a status that begins with 0', 'HTTP/1.1 099 OK'],
  ['two spaces before the status', 'HTTP/1.1  200 OK'],
  ['a line without a colon', 'HTTP/1.1 200 OK', 'nothing'],
  ['a colon only on the next line', 'HTTP/1.1 200 OK', 'nothing', 'a: b'],
  ['a space before the colon', 'HTTP/1.1 200 OK', 'content-length : 5'],
  ['a folded line', 'HTTP/1.1 200 OK', 'a: b', ' c: d'],
  ['an empty name', 'HTTP/1.1 200 OK', ': b'],
  ['a bare LF', 'HTTP/1.1 200 OK', 'a: b\nc: d'],
  ['a bare CR', 'HTTP/1.1 200 OK', 'a: b\rc: d'],
  ['a NUL', 'HTTP/1.1 200 OK', 'a: b\0'],
  ['a character that is no byte', 'HTTP/1.1 200 OK', 'a: \u0100'],
  ['two lengths', 'HTTP/1.1 200 OK', 'content-length: 5', 'content-length: 5'],
  ['a list of lengths', 'HTTP/1.1 200 OK', 'content-length: 5, 5'],
  ['a signed length', 'HTTP/1.1 200 OK', 'content-length: +5'],
  ['a length in hex', 'HTTP/1.1 200 OK', 'content-length: 0x5'],
  ['an empty length', 'HTTP/1.1 200 OK', 'content-length:'],
  ['a length beyond all numbers', 'HTTP/1.1 200 OK', 'content-length: 99999999999999999999'],
  ['a length beside chunks', 'HTTP/1.1 200 OK', 'content-length: 5', 'transfer-encoding: chunked'],
  ['another transfer coding', 'HTTP/1.1 200 OK', 'transfer-encoding: gzip, chunked'],
  ['chunked twice', 'HTTP/1.1 200 OK', 'transfer-encoding: chunked', 'transfer-encoding: chunked'],
  ['chunks in HTTP/1.0', 'HTTP/1.0 200 OK', 'transfer-encoding: chunked'],
] as const) {
  test(`a head with ${what} is a fault`, () => {
    assert.throws(() => read(lines, start), AnswerFault)
  })
}
