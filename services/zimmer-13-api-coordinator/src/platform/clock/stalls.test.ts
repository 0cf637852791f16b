import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '../../testing/manual-clock.ts'
import { createStalls } from './stalls.ts'

test('time in which no timer could run is counted, and only for those who watched then', () => {
  const clock = new ManualClock()
  const stalls = createStalls(clock)
  const early = stalls.watch()
  clock.advance(10_000)
  assert.equal(early.lostMs(), 0, 'time that simply passes is not lost')
  clock.stall(3_000)
  const late = stalls.watch()
  assert(early.lostMs() >= 2_800 && early.lostMs() <= 3_000, `${early.lostMs()}`)
  assert.equal(late.lostMs(), 0)
  clock.stall(150)
  assert.equal(late.lostMs(), 0, 'ordinary lateness is no stall')
  early.end()
  early.end()
  late.end()
  assert.equal(clock.pending, 0)
})

test('a stall is known to the first timer after it, whichever that is', () => {
  const clock = new ManualClock()
  const stalls = createStalls(clock)
  let seenMs = -1
  const watch = stalls.watch()
  clock.after(50, () => (seenMs = watch.lostMs()))
  clock.stall(5_000)
  assert(seenMs >= 4_800, `${seenMs}`)
  watch.end()
  assert.equal(clock.pending, 0)
})
