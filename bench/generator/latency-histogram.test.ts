import { test } from 'node:test'
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { LatencyHistogram } from './latency-histogram.ts'

const latenciesMs = fc.array(fc.double({ min: 0, max: 100_000, noNaN: true }), {
  minLength: 1,
  maxLength: 200,
})

test('a quantile is at most 1.6 % and half a microsecond off, and never better than the truth', () => {
  fc.assert(
    fc.property(latenciesMs, fc.constantFrom(0.01, 0.5, 0.9, 0.99, 1), (values, quantile) => {
      const histogram = new LatencyHistogram()
      for (const value of values) histogram.recordMs(value)
      const sorted = values.toSorted((a, b) => a - b)
      const truth = sorted[Math.max(1, Math.ceil(quantile * sorted.length)) - 1] ?? 0
      const seen = histogram.quantileMs(quantile)
      assert.ok(seen >= truth - 0.0005, `${seen} < ${truth}`)
      assert.ok(seen <= truth * 1.016 + 0.0005, `${seen} > ${truth}`)
    }),
  )
})

test('two histograms merged are the histogram of both', () => {
  fc.assert(
    fc.property(latenciesMs, latenciesMs, (first, second) => {
      const whole = new LatencyHistogram()
      const left = new LatencyHistogram()
      const right = new LatencyHistogram()
      for (const value of first) {
        whole.recordMs(value)
        left.recordMs(value)
      }
      for (const value of second) {
        whole.recordMs(value)
        right.recordMs(value)
      }
      left.merge(JSON.parse(JSON.stringify(right.snapshot())))
      assert.deepEqual(left.snapshot(), whole.snapshot())
      assert.equal(left.count, first.length + second.length)
    }),
  )
})

test('an empty histogram answers zero', () => {
  const histogram = new LatencyHistogram()
  assert.equal(histogram.quantileMs(0.99), 0)
  assert.equal(histogram.meanMs, 0)
})
