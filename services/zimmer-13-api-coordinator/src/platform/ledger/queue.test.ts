import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HausError } from '@haus/contract'
import type { Entry } from './ledger.ts'
import { groupMax, Queue } from './queue.ts'

const bound = 8192
const scan = 2048

function entry(...keys: string[]): Entry {
  return { keys, writes: [], events: [], audit: null }
}

/** The promises of entries that nobody settles here. */
function fill(queue: Queue, entries: Iterable<Entry>): void {
  for (const next of entries) void queue.push(next, 0)
}

function* distinct(count: number): Generator<Entry> {
  for (let n = 0; n < count; n++) yield entry(`k${n}`)
}

test('the queue takes 8192 entries; the next is 503 with Retry-After, and fits once a group has left', () => {
  const queue = new Queue()
  fill(queue, distinct(bound))
  assert.equal(queue.size, bound)
  assert.throws(
    () => queue.push(entry('late'), 0),
    (error) => {
      assert.ok(error instanceof HausError)
      assert.equal(error.code, 'writes_unavailable')
      assert.equal(error.status, 503)
      assert.equal(error.retryAfterSeconds, 1)
      return true
    },
  )
  assert.equal(queue.size, bound, 'a refused entry does not stay')
  assert.equal(queue.takeGroup().length, groupMax)
  fill(queue, distinct(groupMax))
  assert.equal(queue.size, bound)
})

test('a blocked entry holds back later entries that share any key with it, and nobody else', () => {
  const queue = new Queue()
  const [a, ab, b, c, bc] = [
    entry('a'),
    entry('a', 'b'),
    entry('b'),
    entry('c'),
    entry('b', 'c'),
  ] as const
  fill(queue, [a, ab, b, c, bc])
  const groups: Entry[][] = []
  while (queue.size > 0) groups.push(queue.takeGroup().map((pending) => pending.entry))
  assert.deepEqual(groups, [[a, c], [ab], [b], [bc]])
})

test('each key sees its entries in their order, whatever blocks them', () => {
  const queue = new Queue()
  const order = new Map<Entry, number>()
  for (let n = 0; n < 4_000; n++) {
    // Two overlapping cycles: most entries are blocked by one of their keys.
    const next = entry(`x${(n * 7) % 13}`, `y${(n * 5) % 17}`)
    order.set(next, n)
    void queue.push(next, n)
  }
  const lastOf = new Map<string, number>()
  let taken = 0
  while (queue.size > 0) {
    const group = queue.takeGroup()
    const keys = group.flatMap(({ entry: { keys: own } }) => own)
    assert.equal(new Set(keys).size, keys.length, 'two of a group share a key')
    for (const pending of group) {
      const place = order.get(pending.entry) ?? -1
      for (const key of pending.entry.keys) {
        assert.ok(place > (lastOf.get(key) ?? -1), `${key} was overtaken`)
        lastOf.set(key, place)
      }
    }
    taken += group.length
  }
  assert.equal(taken, 4_000)
})

test('one hot key: a group is searched for among the first 2048 only, and none of the rest is lost', () => {
  const queue = new Queue()
  const beyond = entry('cold, one too far')
  const within = entry('cold, last looked at')
  fill(queue, [
    ...Array.from({ length: scan - 1 }, () => entry('hot')),
    within,
    beyond,
    ...Array.from({ length: 3_000 }, () => entry('hot')),
  ])
  const size = queue.size
  const first = queue.takeGroup().map((pending) => pending.entry)
  assert.equal(first.length, 2, 'one hot entry and one cold')
  assert.equal(first[1], within)
  assert.equal(queue.size, size - 2)
  // Two have left, so that the window now reaches it; it is behind nobody with its key.
  assert.ok(
    queue
      .takeGroup()
      .map((pending) => pending.entry)
      .includes(beyond),
  )
})

test('what waits too long is taken out whole, and what came later stays in order', () => {
  const queue = new Queue()
  const [first, second, third] = [entry('a'), entry('a'), entry('a')] as const
  void queue.push(first, 10)
  void queue.push(second, 20)
  void queue.push(third, 30)
  assert.deepEqual(
    queue.takeOlderThan(20).map((pending) => pending.entry),
    [first, second],
  )
  assert.equal(queue.oldestMs, 30)
  assert.deepEqual(
    queue.takeGroup().map((pending) => pending.entry),
    [third],
  )
})
