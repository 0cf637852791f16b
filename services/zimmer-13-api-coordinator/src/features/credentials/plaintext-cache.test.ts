import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from '../../platform/clock/clock.ts'
import { Secret } from '../../platform/crypto/index.ts'
import type { CredentialRecord } from './credential.ts'
import { makeOffer } from './offer.ts'
import { PlaintextCache } from './plaintext-cache.ts'
import { PreparedAnswer } from './prepared-answer.ts'
import { ManualClock } from '../../testing/manual-clock.ts'

const etagKey = new Secret(Buffer.alloc(32, 1))

function answerFor(service: string, sizeBytes = 200): PreparedAnswer {
  const at = new Date(0)
  const credential: CredentialRecord = {
    id: '01933b6e-7c00-7000-8000-000000000002',
    name: 'a',
    version: 1,
    revision: 1,
    grantsRevision: 1,
    services: [service],
    description: null,
    expiresAt: null,
    cacheTtlSeconds: 30,
    keys: ['v'],
    createdAt: at,
    updatedAt: at,
    deletedAt: null,
  }
  const bytes = Buffer.from(JSON.stringify({ v: 'x' }))
  const bare = new PreparedAnswer(
    makeOffer(service, [credential], [], 0, etagKey),
    new Map([['a', bytes]]),
  )
  const padded = Buffer.from(JSON.stringify({ v: 'x'.repeat(1 + sizeBytes - bare.sizeBytes) }))
  return new PreparedAnswer(bare.offer, new Map([['a', padded]]))
}

test('what is dropped, pushed out or too old is wiped, and a copy taken before stays whole', () => {
  const clock = new ManualClock()
  const cache = new PlaintextCache(clock, 1_000)
  const answer = answerFor('orders')
  cache.put(answer, clock.monotonicMs() + 1_000)
  const copy = answer.body()
  cache.drop('orders')
  assert.ok(answer.wiped)
  assert.throws(() => answer.body())
  assert.throws(() => answer.valuesOf('a'))
  assert.equal(JSON.parse(String(copy)).service, 'orders')
  assert.equal(cache.sizeBytes, 0)
})

test('the answer used longest ago makes room first', () => {
  const clock = new ManualClock()
  const cache = new PlaintextCache(clock, 600)
  const answers = ['a', 'b', 'c'].map((service) => answerFor(service))
  for (const answer of answers) cache.put(answer, clock.monotonicMs() + 1_000)
  cache.get('a', answers[0]!.offer.etag)
  cache.put(answerFor('d'), clock.monotonicMs() + 1_000)
  assert.deepEqual(
    answers.map(({ wiped }) => wiped),
    [false, true, false],
  )
  assert.equal(cache.sizeBytes, 600)
  const large = answerFor('e', 601)
  assert.equal(cache.put(large, clock.monotonicMs() + 1_000), false)
  assert.equal(cache.get('e', large.offer.etag), undefined)
  assert.equal(cache.sizeBytes, 600)
})

test('an answer ends at its time without being asked for, a short-lived one before a long-lived', () => {
  const clock = new ManualClock()
  const cache = new PlaintextCache(clock, 1_000)
  const long = answerFor('long')
  const short = answerFor('short')
  cache.put(long, clock.monotonicMs() + 60_000)
  cache.put(short, clock.monotonicMs() + 2_000)
  clock.advance(2_001)
  assert.ok(short.wiped)
  assert.ok(!long.wiped)
  clock.advance(58_000)
  assert.ok(long.wiped)
})

test('an answer to an older offer is not given, and is dropped', () => {
  const clock = new ManualClock()
  const cache = new PlaintextCache(clock, 1_000)
  const answer = answerFor('orders')
  cache.put(answer, clock.monotonicMs() + 60_000)
  assert.equal(cache.get('orders', answer.offer.etag), answer)
  assert.equal(cache.get('orders', '"another"'), undefined)
  assert.ok(answer.wiped)
})

test('an answer whose time is over is not given, even when the timers are late', () => {
  let nowMs = 0
  const stalled: Clock = { now: () => new Date(0), monotonicMs: () => nowMs, after: () => () => {} }
  const cache = new PlaintextCache(stalled, 1_000)
  const answer = answerFor('orders')
  cache.put(answer, 1_000)
  nowMs = 999
  assert.equal(cache.get('orders', answer.offer.etag), answer)
  nowMs = 1_000
  assert.equal(cache.get('orders', answer.offer.etag), undefined)
  assert.ok(answer.wiped)
})
