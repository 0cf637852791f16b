import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { AnswerFault } from './answer-head.ts'
import { AnswerParser, headMaxBytes } from './answer-parser.ts'

/** What a reader that sees it all at once would say of an answer. */
interface Seen {
  statuses: number[]
  body: string
  ended: boolean
  leftOver: boolean
  /** The connection may end here. */
  whole: boolean
}

/** The bytes in pieces of these sizes, in turn, out of memory that is overwritten after each. */
function parse(bytes: string, sizes: readonly number[] = [bytes.length], toHead = false): Seen {
  const seen: Seen = { statuses: [], body: '', ended: false, leftOver: false, whole: false }
  const parser = new AnswerParser()
  const sink = {
    onHead: ({ status }: { status: number }) => void seen.statuses.push(status),
    onData: (data: Buffer) => void (seen.body += data.toString('latin1')),
    onEnd: () => void (seen.ended = true),
  }
  parser.expect(sink, toHead)
  const all = Buffer.from(bytes, 'latin1')
  const lent = Buffer.alloc(Math.max(all.length, 1))
  for (let at = 0, turn = 0; at < all.length && !seen.leftOver; turn += 1) {
    const size = Math.min(Math.max(1, sizes[turn % sizes.length] ?? 1), all.length - at)
    // Behind the piece stands what looks like the end of a head.
    lent.fill('\r\n')
    all.copy(lent, 0, at, at + size)
    seen.leftOver = !parser.read(lent, size)
    at += size
  }
  seen.whole = parser.end()
  return seen
}

const ok = 'HTTP/1.1 200 OK\r\n'
const token = fc.stringMatching(/^[a-z-]{1,12}$/)
const value = fc.stringMatching(/^[\x21-\x7e\x80-\xff]{0,40}$/)
const body = fc
  .string({ unit: 'binary', maxLength: 300 })
  .map((text) => text.replace(/[^\0-\xff]/g, '?'))
const fields = fc
  .array(fc.tuple(token, value), { maxLength: 8 })
  .map((pairs) => pairs.map(([name, text]) => `x-${name}: ${text}\r\n`).join(''))
const interim = fc.constantFrom(
  '',
  'HTTP/1.1 100 Continue\r\n\r\n',
  'HTTP/1.1 103 Early\r\na: b\r\n\r\n',
)
const chunks = fc.array(
  fc.record({
    text: body.filter((text) => text !== ''),
    extension: fc.constantFrom('', ';a', ';a="b;c"', ';\t\u00e9'),
    upper: fc.boolean(),
  }),
  { maxLength: 6 },
)
const trailer = fc.constantFrom('', 'a: b\r\n', 'a: b\r\nc: d\r\n')

const framed = fc.oneof(
  fc.tuple(interim, fields, body).map(([before, lines, text]) => ({
    bytes: `${before}${ok}${lines}Content-Length: ${text.length}\r\n\r\n${text}`,
    body: text,
  })),
  fc.tuple(interim, fields, chunks, trailer).map(([before, lines, parts, end]) => ({
    bytes: `${before}${ok}${lines}Transfer-Encoding: chunked\r\n\r\n${parts
      .map(({ text, extension, upper }) => {
        const size = text.length.toString(16)
        return `${upper ? size.toUpperCase() : size}${extension}\r\n${text}\r\n`
      })
      .join('')}0\r\n${end}\r\n`,
    body: parts.map(({ text }) => text).join(''),
  })),
)
const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 })

test('however it is cut, an answer is the same, and ends exactly where it ends', () => {
  fc.assert(
    fc.property(framed, sizes, (answer, cuts) => {
      const seen = parse(answer.bytes, cuts)
      assert.equal(seen.body, answer.body)
      assert.ok(seen.ended && !seen.leftOver && seen.whole)
      assert.equal(seen.statuses.at(-1), 200)
    }),
    { numRuns: 500 },
  )
})

test('whatever stands behind an answer is left over and never read', () => {
  fc.assert(
    fc.property(framed, sizes, body, (answer, cuts, more) => {
      const seen = parse(`${answer.bytes}!${more}`, cuts)
      assert.equal(seen.body, answer.body)
      assert.deepEqual([seen.ended, seen.leftOver], [true, true])
    }),
  )
})

test('an answer that is cut off anywhere is not whole', () => {
  fc.assert(
    fc.property(framed, fc.nat(), (answer, at) => {
      const seen = parse(answer.bytes.slice(0, at % answer.bytes.length))
      assert.deepEqual([seen.ended, seen.whole], [false, false])
    }),
  )
})

test('an answer without a length lasts as long as its connection', () => {
  const seen = parse(`${ok}\r\nall of it`, [7])
  assert.deepEqual([seen.body, seen.ended, seen.whole], ['all of it', true, true])
})

test('answers to HEAD, 204 and 304 have no body, whatever their head says', () => {
  const length = 'Content-Length: 3\r\n\r\n'
  for (const seen of [
    parse(ok + length, [9], true),
    parse(`HTTP/1.1 204 No Content\r\n${length}`),
    parse(`HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n`),
  ]) {
    assert.deepEqual([seen.ended, seen.leftOver, seen.body], [true, false, ''])
  }
  assert.ok(parse(`${ok}${length}BAD`, [4], true).leftOver)
})

test('bytes before anything was asked for are left over', () => {
  assert.equal(new AnswerParser().read(Buffer.from('x'), 1), false)
})

for (const [what, bytes] of [
  ['a chunk without a size', '\r\nhello\r\n'],
  ['a chunk size that is none', 'zz\r\n'],
  ['a chunk size with a prefix', '0x5\r\nhello\r\n'],
  ['a negative chunk size', '-5\r\nhello\r\n'],
  ['a chunk size beyond all numbers', '10000000000000000\r\n'],
  ['a space behind the chunk size', '5 \r\nhello\r\n'],
  ['an LF alone behind the chunk size', '5\nhello\r\n'],
  ['a CR in the line of the chunk', '5;a\rb\r\nhello\r\n'],
  ['an LF in the line of the chunk', '5;a\nb\r\nhello\r\n'],
  ['a chunk that is longer than its size', '5\r\nhello!\r\n'],
  ['an LF alone behind the chunk', '5\r\nhello\n'],
  ['an extension without end', `5;${'a'.repeat(5_000)}`],
  ['an LF alone in the trailer', '0\r\na: b\nc: d\r\n\r\n'],
  ['a trailer without end', `0\r\n${'a: b\r\n'.repeat(5_000)}`],
] as const) {
  test(`${what} is a fault`, () => {
    for (const cuts of [[bytes.length + 99], [1], [3, 2]]) {
      assert.throws(
        () => parse(`${ok}Transfer-Encoding: chunked\r\n\r\n${bytes}`, cuts),
        AnswerFault,
      )
    }
  })
}

test('a head has an end, and interim answers too', () => {
  assert.throws(() => parse(`${ok}a: ${'b'.repeat(headMaxBytes)}`), AnswerFault)
  assert.throws(() => parse(`${ok}a: ${'b'.repeat(headMaxBytes)}`, [1_000]), AnswerFault)
  assert.throws(() => parse('HTTP/1.1 100 Continue\r\n\r\n'.repeat(17)), AnswerFault)
  assert.throws(() => parse('HTTP/1.1 101 Switching Protocols\r\n\r\n'), AnswerFault)
})
