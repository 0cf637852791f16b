import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '../../testing/manual-clock.ts'
import { createAttentiveClock } from './attentive-clock.ts'

test('a timer waits as much longer as the thread stood still, and no more', () => {
  const clock = new ManualClock()
  const attentive = createAttentiveClock(clock)
  let rangAtMs = -1
  attentive.after(250, () => (rangAtMs = clock.monotonicMs()))
  clock.advance(100)
  clock.stall(1_000)
  assert.equal(rangAtMs, -1)
  clock.stall(500)
  assert.equal(rangAtMs, -1, 'a second stall counts too')
  clock.advance(500)
  const [least, most] = [100 + 1_000 + 500 + 150 - 3 * 40, 100 + 1_000 + 500 + 150]
  assert.ok(rangAtMs >= least && rangAtMs <= most, `${rangAtMs}, not ${least} to ${most}`)
  assert.equal(clock.pending, 0)
})

test('without a stall it is the clock itself, and a cancelled timer leaves nothing', () => {
  const clock = new ManualClock()
  const attentive = createAttentiveClock(clock)
  const startedMs = attentive.monotonicMs()
  let rang = false
  attentive.after(250, () => (rang = true))
  const cancel = attentive.after(1_000, () => assert.fail('it was cancelled'))
  clock.advance(249)
  assert.equal(rang, false)
  clock.advance(1)
  assert.equal(rang, true)
  cancel()
  cancel()
  assert.equal(clock.pending, 0)
  clock.advance(10_000)
  assert.equal(attentive.monotonicMs() - startedMs, 10_250)
})

test('its time leaves out what was lost while somebody waited', () => {
  const clock = new ManualClock()
  const attentive = createAttentiveClock(clock)
  const cancel = attentive.after(10_000, () => {})
  const startedMs = attentive.monotonicMs()
  clock.stall(1_000)
  const passedMs = attentive.monotonicMs() - startedMs
  assert.ok(passedMs >= 0 && passedMs <= 40, `${passedMs}`)
  cancel()
})

test('within one long turn it stands still after 40 ms, and never goes back', () => {
  const clock = new ManualClock()
  const attentive = createAttentiveClock(clock)
  const cancel = attentive.after(10_000, () => {})
  const startedMs = attentive.monotonicMs()
  let beforeMs = startedMs
  clock.after(0, () => {
    // In a task of its own no other timer runs.
    for (let step = 0; step < 100; step += 1) {
      clock.stand(1)
      const nowMs = attentive.monotonicMs()
      assert.ok(nowMs >= beforeMs, `${nowMs} after ${beforeMs}`)
      beforeMs = nowMs
    }
  })
  clock.advance(0)
  assert.equal(beforeMs - startedMs, 40)
  cancel()
})
