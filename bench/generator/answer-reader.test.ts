import { test } from 'node:test'
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { AnswerReader, FramingError } from './answer-reader.ts'

interface Seen {
  readonly status: number
  readonly body: string
  readonly reusable: boolean
}

/** Feeds the parts of one answer and tells what was seen. */
function read(parts: readonly Buffer[], options: { head?: boolean; ends?: boolean } = {}): Seen[] {
  const seen: Seen[] = []
  const reader = new AnswerReader({
    wantBody: () => true,
    answer: ({ status }, body, reusable) => {
      seen.push({ status, body: body?.toString() ?? '', reusable })
    },
  })
  reader.expect(options.head ?? false)
  for (const part of parts) reader.push(part)
  if (options.ends) reader.end()
  return seen
}

function cut(text: string, places: readonly number[]): Buffer[] {
  const bytes = Buffer.from(text)
  const edges = [...new Set(places.map((place) => place % bytes.length))].toSorted((a, b) => a - b)
  return [0, ...edges].map((from, index) => bytes.subarray(from, edges[index] ?? bytes.length))
}

const sized = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-LENGTH: 11\r\n\r\nhello world'
const chunked =
  'HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n006;x=y\r\n world\r\n0\r\nTrailer: t\r\n\r\n'

test('an answer is the same however the network cuts it', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(200), { maxLength: 8 }), (places) => {
      assert.deepEqual(read(cut(sized, places)), [
        { status: 200, body: 'hello world', reusable: true },
      ])
      assert.deepEqual(read(cut(chunked, places)), [
        { status: 201, body: 'hello world', reusable: true },
      ])
    }),
  )
})

test('answers without a body end with their head', () => {
  for (const status of ['204 No Content', '304 Not Modified']) {
    const seen = read([Buffer.from(`HTTP/1.1 ${status}\r\nContent-Length: 5\r\n\r\n`)])
    assert.deepEqual(seen, [{ status: Number(status.slice(0, 3)), body: '', reusable: true }])
  }
  const head = read([Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n')], { head: true })
  assert.equal(head.length, 1)
})

test('an interim answer is not the answer', () => {
  const bytes = Buffer.from(`HTTP/1.1 100 Continue\r\n\r\n${sized}`)
  assert.deepEqual(
    read([bytes]).map(({ status }) => status),
    [200],
  )
})

test('a connection is reused only when the server keeps it', () => {
  const answer = (head: string): Seen | undefined =>
    read([Buffer.from(`${head}\r\nContent-Length: 0\r\n\r\n`)])[0]
  assert.equal(answer('HTTP/1.1 200 OK')?.reusable, true)
  assert.equal(answer('HTTP/1.1 200 OK\r\nConnection: close')?.reusable, false)
  assert.equal(answer('HTTP/1.0 200 OK')?.reusable, false)
  assert.equal(answer('HTTP/1.0 200 OK\r\nConnection: keep-alive')?.reusable, true)
})

test('a body without a length goes on until the server closes', () => {
  const bytes = Buffer.from('HTTP/1.1 200 OK\r\n\r\nall of this')
  assert.deepEqual(read([bytes]), [])
  assert.deepEqual(read([bytes], { ends: true }), [
    { status: 200, body: 'all of this', reusable: false },
  ])
})

test('what is not one whole answer is refused, never guessed at', () => {
  const wrong: readonly [string, string][] = [
    ['not HTTP', 'SSH-2.0-OpenSSH\r\n\r\n'],
    ['bytes after the end', `${sized}x`],
    ['a second answer', `${sized}${sized}`],
    ['a bad chunk size', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n'],
    ['a chunk longer than it said', chunked.replace('\r\nhello\r\n', '\r\nhello!\r\n')],
    ['a head without end', `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(17 * 1024)}`],
  ]
  for (const [what, text] of wrong) {
    assert.throws(() => read([Buffer.from(text)]), FramingError, what)
  }
  for (const text of [sized.slice(0, -1), chunked.slice(0, -4), 'HTTP/1.1 200']) {
    assert.throws(() => read([Buffer.from(text)], { ends: true }), FramingError, text)
  }
})

test('bytes that nobody asked for are refused', () => {
  const reader = new AnswerReader({ wantBody: () => false, answer: () => {} })
  assert.throws(() => reader.push(Buffer.from(sized)), /without a request/)
})
