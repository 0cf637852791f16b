import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { CheckRecord } from './check-record.ts'

const startMs = Date.parse('2026-11-25T12:00:00.000Z')

function check(atMs: number, ok: boolean, reason: string | null = ok ? null : 'refused') {
  return {
    wallMs: startMs + atMs,
    monotonicMs: atMs,
    ok,
    latencyMs: 1.26,
    reason,
    intervalMs: 30_000,
  }
}

test('the last checks are kept, the newest first, with their reasons', () => {
  const record = new CheckRecord()
  record.add(check(0, true), 3)
  record.add(check(30_000, false, 'GET /up answered 503'), 3)
  record.add(check(60_000, true, 'GET /up answered 429'), 3)
  record.add(check(90_000, true), 3)
  assert.deepEqual(record.results(), [
    { at: '2026-11-25T12:01:30.000Z', ok: true, latencyMs: 1.3, reason: null },
    { at: '2026-11-25T12:01:00.000Z', ok: true, latencyMs: 1.3, reason: 'GET /up answered 429' },
    { at: '2026-11-25T12:00:30.000Z', ok: false, latencyMs: 1.3, reason: 'GET /up answered 503' },
  ])
  assert.deepEqual(record.lastFailure(), {
    reason: 'GET /up answered 503',
    at: '2026-11-25T12:00:30.000Z',
  })
})

test('uptime is time: three probes of a doubt weigh less than a second', () => {
  const record = new CheckRecord()
  record.add(check(0, true), 100)
  record.add(check(30_000, false), 100)
  record.add(check(30_200, false), 100)
  record.add(check(30_600, true), 100)
  record.add(check(60_000, true), 100)
  const { uptime, observedSeconds } = record.day(startMs + 60_000)
  assert.equal(observedSeconds, 60)
  assert.equal(uptime, Math.round((59.4 / 60) * 1e5) / 1e5)
})

test('time in which nobody looked counts for nobody, and a day ago is forgotten', () => {
  const record = new CheckRecord()
  assert.equal(record.day(startMs).uptime, null)
  record.add(check(0, false), 100)
  record.add(check(3 * 3_600_000, true), 100)
  assert.equal(record.day(startMs).observedSeconds, 0, 'not the hour it was, but that of the look')
  assert.deepEqual(record.day(startMs + 3 * 3_600_000), { observedSeconds: 60, uptime: 0 })
  record.add(check(3 * 3_600_000 + 30_000, true), 100)
  assert.equal(record.day(startMs + 4 * 3_600_000).observedSeconds, 90)
  assert.equal(record.day(startMs + 29 * 3_600_000).observedSeconds, 0)
})

test('what was dropped before it was written is counted', () => {
  const record = new CheckRecord()
  let dropped = 0
  for (let place = 0; place < 5; place++) dropped += record.add(check(place, true), 3)
  assert.deepEqual([dropped, record.unwritten, record.size], [2, 3, 3])
  record.unwritten = 0
  for (let place = 5; place < 8; place++) dropped += record.add(check(place, true), 3)
  assert.deepEqual([dropped, record.unwritten], [2, 3])
})

test('written and read again it is the same, whatever came', () => {
  const outcome = fc.record({
    stepMs: fc.integer({ min: 0, max: 4_000_000 }),
    ok: fc.boolean(),
    reason: fc.option(fc.constantFrom(...Array.from({ length: 60 }, (_, n) => `status ${n}`)), {
      nil: null,
    }),
  })
  fc.assert(
    fc.property(fc.array(outcome, { maxLength: 150 }), (outcomes) => {
      const record = new CheckRecord()
      const expected: (string | null)[] = []
      let atMs = 0
      for (const { stepMs, ok, reason } of outcomes) {
        atMs += stepMs
        record.add(check(atMs, ok, reason), 20)
        expected.unshift(reason)
      }
      const kept = record.results()
      assert.equal(kept.length, Math.min(20, outcomes.length))
      assert.deepEqual(
        kept.map(({ reason }) => reason),
        expected.slice(0, 20),
        'twenty checks have twenty reasons at most, and none is mixed up',
      )
      const read = CheckRecord.decode(record.encode())
      assert(read)
      assert.deepEqual(read.results(), kept)
      assert.deepEqual(read.lastFailure(), record.lastFailure())
      const day = record.day(startMs + atMs)
      const again = read.day(startMs + atMs)
      assert(Math.abs(day.observedSeconds - again.observedSeconds) <= 25)
      assert(record.encode().length < 4_000)
    }),
  )
})

test('more reasons than anybody has share one place, and the size stays bounded', () => {
  const record = new CheckRecord()
  for (let place = 0; place < 500; place++) record.add(check(place, false, `reason ${place}`), 100)
  const reasons = new Set(record.results().map(({ reason }) => reason))
  assert(reasons.size <= 33, `${reasons.size}`)
})

test('what is no record, or one of a later format, is begun anew', () => {
  for (const text of [
    '',
    'null',
    '[]',
    '{"v":2}',
    '{"v":1,"t":[1],"r":[],"x":[],"b":0,"h":[]}',
    '{"v":1,"t":[1e300],"r":[1],"x":[],"b":0,"h":[]}',
    '{"v":1,"t":["1"],"r":[1],"x":[],"b":0,"h":[]}',
  ]) {
    assert.equal(CheckRecord.decode(text), null, text)
  }
})
