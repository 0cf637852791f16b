import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Breaker } from './breaker.ts'

const halfway = 0.5

function failTimes(breaker: Breaker, times: number, nowMs: number): void {
  for (let count = 0; count < times; count++) breaker.failed(nowMs, halfway, true)
}

test('five failures in a row open it, four do not, and one success between begins anew', () => {
  const breaker = new Breaker()
  failTimes(breaker, 4, 1_000)
  breaker.succeeded(1_000)
  failTimes(breaker, 4, 1_000)
  assert.equal(breaker.state, 'closed')
  failTimes(breaker, 1, 1_000)
  assert.equal(breaker.state, 'open')
  assert.equal(breaker.allows(1_001), false)
})

test('half of twenty requests within ten seconds open it; what is older does not count', () => {
  const breaker = new Breaker()
  for (let count = 0; count < 9; count++) {
    breaker.failed(5_000, halfway, true)
    breaker.succeeded(5_000)
  }
  assert.equal(breaker.state, 'closed', '18 requests')
  breaker.succeeded(5_000)
  breaker.failed(5_000, halfway, true)
  assert.equal(breaker.state, 'open')

  const later = new Breaker()
  for (let count = 0; count < 9; count++) {
    later.failed(5_000, halfway, true)
    later.succeeded(5_000)
  }
  later.failed(16_000, halfway, true)
  later.succeeded(16_000)
  later.failed(16_000, halfway, true)
  assert.equal(later.state, 'closed')
})

test('it stays closed while too many others are left out', () => {
  const breaker = new Breaker()
  for (let count = 0; count < 10; count++) breaker.failed(1_000, halfway, false)
  assert.equal(breaker.state, 'closed')
})

test('after 30 s one request at a time tries, and three successes close it', () => {
  const breaker = new Breaker()
  failTimes(breaker, 5, 0)
  assert.equal(breaker.allows(29_999), false)
  for (let count = 0; count < 3; count++) {
    assert.equal(breaker.allows(30_001), true)
    assert.equal(breaker.started(), true)
    assert.equal(breaker.allows(30_001), false, 'one at a time')
    breaker.succeeded(30_001, true)
  }
  assert.equal(breaker.state, 'closed')
})

test('a failure while trying opens it for longer, up to 300 s; the jitter is a tenth', () => {
  const breaker = new Breaker()
  failTimes(breaker, 5, 0)
  let nowMs = 0
  for (let opening = 2; opening <= 12; opening++) {
    nowMs = breaker.untilMs
    assert.ok(breaker.allows(nowMs))
    breaker.failed(nowMs, halfway, true, breaker.started())
    assert.equal(breaker.untilMs - nowMs, Math.min(30_000 * opening, 300_000))
  }
  const early = new Breaker()
  for (let count = 0; count < 5; count++) early.failed(0, 0, true)
  assert.equal(early.untilMs, 27_000)
})

test('what began before the opening decides nothing while one request tries', () => {
  const breaker = new Breaker()
  failTimes(breaker, 5, 0)
  assert.ok(breaker.allows(40_000))
  assert.equal(breaker.started(), true)
  for (let count = 0; count < 3; count++) breaker.succeeded(40_000)
  assert.equal(breaker.failed(40_000, halfway, true), false)
  assert.equal(breaker.state, 'half-open')
  assert.equal(breaker.allows(40_000), false, 'one is still trying')
  // Where breakers are ignored a second request may be sent: it is none that tries.
  assert.equal(breaker.started(), false)
  breaker.failed(40_000, halfway, true, true)
  assert.equal(breaker.state, 'open')
})

test('a client that went away while trying gives the turn to the next', () => {
  const breaker = new Breaker()
  failTimes(breaker, 5, 0)
  assert.ok(breaker.allows(40_000))
  breaker.started()
  breaker.abandoned()
  assert.ok(breaker.allows(40_000))
})
