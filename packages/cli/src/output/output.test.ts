import assert from 'node:assert/strict'
import { stripVTControlCharacters } from 'node:util'
import { test } from 'node:test'
import { durationText, parseDurationSeconds, parseTimeMs, relativeTime } from './relative-time.ts'
import { renderFields, renderTable } from './table.ts'
import { cutText, plainText, textWidth, wrapText } from './text-width.ts'

const plain = { colour: false, unicode: false, columns: undefined }
const terminal = { colour: true, unicode: true, columns: 40 }
const columns = [
  { title: 'NAME' },
  { title: 'N', align: 'right' },
  { title: 'WHY', flexible: true },
] as const

test('a table is as wide as its cells, and numbers end below each other', () => {
  const text = renderTable(
    columns,
    [
      ['orders', '2', 'ok'],
      ['a', '10', ''],
    ],
    plain,
  )
  assert.equal(text, 'NAME     N  WHY\norders   2  ok\na       10  -\n')
})

test('on a narrow terminal the flexible column gives way, and nothing else', () => {
  const why = 'connection refused by the peer, three times in a row'
  const text = renderTable(columns, [['orders', '2', why]], terminal)
  const lines = stripVTControlCharacters(text).split('\n')
  assert.equal(lines[1], 'orders  2  connection refused by the pe…')
  assert.ok(lines.every((line) => textWidth(line) <= 40))
  assert.ok(renderTable(columns, [['orders', '2', why]], plain).includes(why), 'a pipe gets all')
})

test('colours do not move columns', () => {
  const rows = [[{ text: 'orders', tone: 'bad' }, '2', { text: 'ok', tone: 'good' }]] as const
  const coloured = renderTable(columns, rows, { ...terminal, columns: undefined })
  assert.notEqual(coloured, stripVTControlCharacters(coloured))
  assert.equal(stripVTControlCharacters(coloured), renderTable(columns, rows, plain))
})

test('what somebody else wrote cannot drive the terminal', () => {
  const hostile = 'a\u001b[2Jb\u009bc\rd\ne\u202ef'
  for (const text of [
    plainText(hostile),
    renderTable(columns, [[hostile, '1', '']], terminal),
    renderFields([['Reason', hostile]], terminal),
  ]) {
    const body = stripVTControlCharacters(text).replaceAll('\n', '')
    assert.match(body, /a\\u001b\[2Jb\\u009bc\\u000dd\\u000ae\\u202ef/)
    assert.ok(!text.includes('\u001b[2J') && !text.includes('\r'))
  }
})

test('wide letters take two columns, marks none, and are never cut in half', () => {
  assert.equal(textWidth('orders'), 6)
  assert.equal(textWidth('部屋'), 4)
  assert.equal(textWidth('e\u0301'), 1)
  assert.equal(textWidth('👩‍👧'), 2)
  assert.equal(cutText('部屋番号', 6, '…'), '部屋…')
  assert.equal(cutText('orders', 6, '…'), 'orders')
  assert.equal(cutText('orders', 4, '...'), 'o...')
  assert.equal(cutText('orders', 2, '...'), '..')
})

test('long sentences break between words', () => {
  assert.equal(wrapText('one two three', 8, '  '), '  one\n  two\n  three')
  assert.equal(wrapText('a verylongwordindeed b', 8, ''), 'a\nverylongwordindeed\nb')
})

test('times are told in the unit that fits', () => {
  const nowMs = Date.parse('2026-11-25T12:00:00Z')
  const at = (text: string | null) => relativeTime(text, nowMs)
  assert.equal(at('2026-11-25T11:59:59.500Z'), 'now')
  assert.equal(at('2026-11-25T11:58:30Z'), '90 s ago')
  assert.equal(at('2026-11-25T11:40:00Z'), '20 min ago')
  assert.equal(at('2026-11-25T06:10:00Z'), '6 h ago')
  assert.equal(at('2026-12-25T11:59:59Z'), 'in 30 d')
  assert.equal(at(null), '-')
  assert.equal(at('soon'), 'soon')
  assert.equal(durationText(0.2), '0 s')
})

test('durations and times are read in their plain form only', () => {
  assert.equal(parseDurationSeconds('90s'), 90)
  assert.equal(parseDurationSeconds('10m'), 600)
  assert.equal(parseDurationSeconds('2h'), 7200)
  assert.equal(parseDurationSeconds('4w'), 2_419_200)
  for (const text of ['', '5', 'd', '-1d', '1.5h', '10 m']) {
    assert.equal(parseDurationSeconds(text), undefined, text)
  }
  assert.equal(parseTimeMs('2026-11-25T12:00:00Z'), Date.parse('2026-11-25T12:00:00Z'))
  assert.equal(parseTimeMs('2026-11-25 12:00+01:00'), Date.parse('2026-11-25T11:00:00Z'))
  for (const text of ['tomorrow', '25.11.2026', '2026-13-01', '2026-11-25T12:00']) {
    assert.equal(parseTimeMs(text), undefined, text)
  }
})
