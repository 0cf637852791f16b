import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  recheckAfterMs,
  standingAt,
  weigh,
  type Believed,
  type Evidence,
  type Standing,
} from './state.ts'

const pass: Evidence = { kind: 'passed', ailing: false, reason: null }
const ailing: Evidence = { kind: 'passed', ailing: true, reason: 'GET /up answered 429' }
const refused: Evidence = { kind: 'refused', reason: 'connection refused' }
const timeout: Evidence = { kind: 'failed', reason: 'no answer within 5 s' }
const doubted: Evidence = { kind: 'doubted', reason: 'no heartbeat within the lease' }
const tellsDegraded: Evidence = { kind: 'told', degraded: true }
const tellsHealthy: Evidence = { kind: 'told', degraded: false }

function after(state: Believed, ...evidence: Evidence[]): Standing {
  return evidence.reduce(weigh, standingAt(state, null))
}

const transitions: readonly (readonly [Believed, readonly Evidence[], Believed])[] = [
  ['pending', [pass], 'healthy'],
  ['pending', [ailing], 'degraded'],
  ['pending', [tellsDegraded, pass], 'degraded'],
  ['pending', [refused, timeout], 'pending'],
  ['pending', [refused, timeout, refused], 'offline'],
  ['pending', [doubted], 'pending'],
  ['healthy', [refused], 'suspect'],
  ['degraded', [refused], 'suspect'],
  ['healthy', [doubted], 'suspect'],
  ['healthy', [timeout, timeout], 'healthy'],
  ['healthy', [timeout, timeout, timeout], 'offline'],
  ['healthy', [timeout, timeout, pass, timeout, timeout], 'healthy'],
  ['healthy', [timeout, refused], 'suspect'],
  ['healthy', [ailing], 'degraded'],
  ['healthy', [tellsDegraded], 'degraded'],
  ['healthy', [tellsDegraded, pass], 'degraded'],
  ['healthy', [tellsDegraded, tellsHealthy], 'healthy'],
  ['healthy', [ailing, tellsHealthy], 'degraded'],
  ['degraded', [pass], 'healthy'],
  ['suspect', [pass], 'suspect'],
  ['suspect', [pass, pass], 'healthy'],
  ['suspect', [pass, refused, pass], 'suspect'],
  ['suspect', [refused, refused], 'suspect'],
  ['suspect', [refused, timeout, refused], 'offline'],
  ['suspect', [doubted, doubted, doubted], 'suspect'],
  ['suspect', [tellsHealthy], 'suspect'],
  ['offline', [pass], 'offline'],
  ['offline', [pass, pass], 'healthy'],
  ['offline', [pass, refused, pass], 'offline'],
  ['offline', [tellsHealthy, tellsHealthy], 'offline'],
  ['offline', [doubted, refused, refused, refused], 'offline'],
  ['unknown', [pass, pass], 'healthy'],
  ['unknown', [timeout, timeout, timeout], 'offline'],
]

for (const [from, evidence, to] of transitions) {
  const words = evidence.map((one) => ('reason' in one && one.reason) || one.kind).join(', ')
  test(`${from}: ${words} -> ${to}`, () => {
    assert.equal(after(from, ...evidence).state, to)
  })
}

test('a reason stands as long as something is wrong, and no longer', () => {
  assert.equal(after('healthy', timeout).reason, 'no answer within 5 s')
  assert.equal(after('healthy', timeout, pass).reason, null)
  assert.equal(after('suspect', pass, pass).reason, null)
  assert.equal(after('healthy', tellsDegraded).reason, 'it says so itself')
})

test('a suspect on its way back that is doubted again is probed at once, as at the first doubt', () => {
  const again = after('healthy', doubted, pass, doubted)
  assert.deepEqual(again, after('healthy', doubted))
  assert.equal(recheckAfterMs(again), 0)
  assert.equal(after('healthy', doubted, pass, doubted, refused, refused, refused).state, 'offline')
})

test('a suspect is probed at 0, 200 and 600 ms; a hiccup is looked at again after 1 and 3 s', () => {
  const suspect = after('healthy', refused)
  const delays = [suspect, weigh(suspect, refused), weigh(weigh(suspect, refused), refused)]
  assert.deepEqual(delays.map(recheckAfterMs), [0, 200, 400])
  assert.equal(recheckAfterMs(after('suspect', refused, refused, pass)), 1_000)
  assert.equal(recheckAfterMs(after('suspect', refused, pass, refused)), 200)
  assert.equal(recheckAfterMs(after('healthy', timeout)), 1_000)
  assert.equal(recheckAfterMs(after('healthy', timeout, timeout)), 3_000)
  assert.equal(recheckAfterMs(after('healthy', pass)), null)
  const offline = after('suspect', refused, refused, refused)
  assert.equal(recheckAfterMs(offline), 1_000)
  assert.equal(recheckAfterMs(weigh(offline, refused)), 3_000)
  assert.equal(recheckAfterMs(weigh(weigh(offline, refused), refused)), null)
})

const anyEvidence = fc.constantFrom(
  pass,
  ailing,
  refused,
  timeout,
  doubted,
  tellsDegraded,
  tellsHealthy,
)
const anyState = fc.constantFrom<Believed>(
  'pending',
  'healthy',
  'degraded',
  'suspect',
  'offline',
  'unknown',
)

test('whatever happened: three failures in a row are offline, two successes in a row serve', () => {
  fc.assert(
    fc.property(anyState, fc.array(anyEvidence), (from, history) => {
      const standing = after(from, ...history)
      const dead = [refused, refused, refused, refused].reduce(weigh, standing)
      assert.equal(dead.state, 'offline')
      const back = [pass, pass].reduce(weigh, standing)
      assert(back.state === 'healthy' || back.state === 'degraded')
    }),
  )
})

test('nothing becomes offline without three failed probes since it last served', () => {
  fc.assert(
    fc.property(fc.array(anyEvidence), (history) => {
      let standing = standingAt('healthy', null)
      let failures = 0
      for (const evidence of history) {
        const before = standing.state
        standing = weigh(standing, evidence)
        if (evidence.kind === 'refused' || evidence.kind === 'failed') failures += 1
        if (evidence.kind === 'passed') failures = 0
        if (standing.state === 'offline' && before !== 'offline') assert(failures >= 3)
      }
    }),
  )
})
