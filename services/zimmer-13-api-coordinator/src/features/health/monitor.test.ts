import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ManualClock } from '../../testing/manual-clock.ts'
import { DueQueue } from './due-queue.ts'
import { createMonitor, type Watched } from './monitor.ts'
import type { Lane } from './places.ts'
import type { Finding, Prober } from './probe.ts'

test('the queue gives out what is due, in order, and only the newest appointment of each', () => {
  const operation = fc.oneof(
    fc.record({ do: fc.constant('set' as const), id: fc.nat(8), dueMs: fc.nat(100) }),
    fc.record({ do: fc.constant('delete' as const), id: fc.nat(8), dueMs: fc.constant(0) }),
    fc.record({ do: fc.constant('take' as const), id: fc.constant(0), dueMs: fc.nat(100) }),
  )
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 300 }), (operations) => {
      const queue = new DueQueue()
      const model = new Map<string, number>()
      for (const { do: act, id, dueMs } of operations) {
        if (act === 'set') {
          queue.set(String(id), dueMs)
          model.set(String(id), dueMs)
        } else if (act === 'delete') {
          queue.delete(String(id))
          model.delete(String(id))
        } else {
          const earliest = Math.min(...model.values())
          const taken = queue.take(dueMs)
          assert.equal(taken !== null, earliest <= dueMs)
          if (taken !== null) {
            assert.equal(taken.dueMs, earliest)
            assert.equal(model.get(taken.id), earliest)
            model.delete(taken.id)
          }
        }
        assert.equal(queue.size, model.size)
        assert.equal(queue.nextMs(), model.size === 0 ? null : Math.min(...model.values()))
      }
    }),
  )
})

/** Stands where the network would: what each probe finds is the test's to say. */
function openMonitor() {
  const clock = new ManualClock()
  const probed: { id: string; atMs: number; lane: Lane }[] = []
  const findings = new Map<number, Finding['kind']>()
  const hanging = new Set<number>()
  const beliefs: string[] = []
  const checked: string[] = []
  let places = Number.POSITIVE_INFINITY
  const prober: Prober = {
    probe({ port }, lane = 'newcomer') {
      if (places <= 0 && lane !== 'urgent') return null
      places -= 1
      probed.push({ id: String(port), atMs: clock.monotonicMs(), lane })
      const kind = findings.get(port) ?? 'passed'
      const reason = kind === 'passed' ? null : kind
      if (!hanging.has(port)) return Promise.resolve({ kind, reason, mend: null, latencyMs: 1 })
      return new Promise((resolve) => {
        clock.after(5_000, () =>
          resolve({ kind: 'timeout', reason: 'no answer', mend: null, latencyMs: 5_000 }),
        )
      })
    },
    retryAfterMs: () => 10,
    onFree() {},
    underWay: 0,
    stop() {},
  }
  const monitor = createMonitor({
    clock,
    prober,
    onBelief: (id, { state }) => beliefs.push(`${id} ${state}`),
    onChecked: (id, { kind }) => checked.push(`${id} ${kind}`),
  })
  monitor.start()
  const watched = (port: number, more: Partial<Watched> = {}): Watched => ({
    id: String(port),
    incarnation: 1,
    leased: true,
    intervalMs: 30_000,
    paused: false,
    address: '10.0.0.1',
    port,
    scheme: 'http',
    healthEndpoint: '/up',
    ...more,
  })
  const since = '2026-11-23T12:00:00.000Z'
  const watch = (
    port: number,
    state: 'pending' | 'healthy' | 'offline' = 'pending',
    more: Partial<Watched> = {},
  ) => monitor.watch(watched(port, more), state, null, since)
  /** Time passes in small steps, so that what a probe finds is weighed before the next is due. */
  const pass = async (byMs: number, stepMs = 10): Promise<void> => {
    for (let passedMs = 0; passedMs < byMs; passedMs += stepMs) {
      clock.advance(stepMs)
      await Promise.resolve()
      await Promise.resolve()
    }
  }
  return {
    clock,
    monitor,
    probed,
    findings,
    hanging,
    beliefs,
    checked,
    watch,
    pass,
    limitPlaces: (count: number) => (places = count),
  }
}

test('a suspect is probed at 0, 200 and 600 ms and is offline with the third', async () => {
  const { monitor, watch, pass, probed, findings, beliefs, clock } = openMonitor()
  watch(1, 'healthy')
  findings.set(1, 'refused')
  const startMs = clock.monotonicMs()
  monitor.report('1', 1, { kind: 'doubted', reason: 'connection refused' })
  await pass(900)
  assert.deepEqual(beliefs, ['1 suspect', '1 offline'])
  const times = probed.map(({ atMs }) => atMs - startMs)
  assert.equal(times.length, 3)
  assert(times[0]! <= 20 && times[1]! >= 200 && times[1]! <= 250 && times[2]! >= 600)
  assert(times[2]! < 700)
})

test('what is offline is probed after 1 s, 3 s and then every 30 s, and two successes bring it back', async () => {
  const { watch, pass, probed, findings, beliefs } = openMonitor()
  findings.set(1, 'refused')
  watch(1, 'pending')
  await pass(10_000)
  assert.deepEqual(beliefs, ['1 offline'])
  const before = probed.length
  await pass(300_000, 100)
  const later = probed.length - before
  assert(later >= 9 && later <= 14, `${later} probes in five minutes`)
  findings.set(1, 'passed')
  await pass(35_000)
  assert.deepEqual(beliefs, ['1 offline', '1 healthy'])
})

test('each is checked once a round, leased or not, at times that spread over the round', async () => {
  const { watch, pass, probed } = openMonitor()
  for (let port = 1; port <= 100; port++) watch(port, 'healthy', { leased: port % 2 === 0 })
  await pass(60_000, 100)
  assert.equal(probed.length, 200)
  for (let port = 1; port <= 100; port++) {
    const [first, second] = probed.filter(({ id }) => id === String(port))
    assert(first && second)
    const gapMs = second.atMs - first.atMs
    assert(gapMs >= 29_900 && gapMs <= 30_100, `${gapMs}`)
  }
  const busiest = Math.max(
    ...Array.from(
      { length: 60 },
      (_, second) =>
        probed.filter(({ atMs }) => atMs >= second * 1_000 && atMs < (second + 1) * 1_000).length,
    ),
  )
  assert(busiest < 20, `${busiest} in one second`)
})

test('an expired lease makes the probe decide: passing keeps the instance', async () => {
  const { monitor, watch, pass, beliefs } = openMonitor()
  watch(1, 'healthy')
  monitor.leaseLives('1', false)
  await pass(1_000)
  assert.deepEqual(beliefs, ['1 suspect', '1 healthy'])
  monitor.leaseLives('1', true)
  await pass(65_000, 100)
  assert.deepEqual(beliefs, ['1 suspect', '1 healthy'])
})

test('an instance in maintenance is not probed, and evidence about it is nobody’s', async () => {
  const { monitor, watch, pass, probed, beliefs } = openMonitor()
  watch(1, 'healthy', { paused: true, leased: false })
  monitor.report('1', 1, { kind: 'refused', reason: 'connection refused' })
  monitor.leaseLives('1', false)
  monitor.lookSoon('1')
  await pass(60_000, 100)
  assert.deepEqual([probed, beliefs], [[], []])
  watch(1, 'pending')
  await pass(2_000)
  assert.deepEqual(beliefs, ['1 healthy'])
})

test('evidence about a start that is over changes nothing', async () => {
  const { monitor, watch, pass, beliefs } = openMonitor()
  watch(1, 'healthy', { incarnation: 2 })
  monitor.report('1', 1, { kind: 'refused', reason: 'connection refused' })
  await pass(1_000)
  assert.deepEqual(beliefs, [])
  monitor.forget('1')
  monitor.report('1', 2, { kind: 'refused', reason: 'connection refused' })
  assert.equal(monitor.belief('1'), undefined)
})

test('what is believed and not yet on record outlives an older record, and yields to a new start', () => {
  const { monitor, watch } = openMonitor()
  watch(1, 'healthy')
  monitor.report('1', 1, { kind: 'refused', reason: 'connection refused' })
  watch(1, 'healthy')
  assert.equal(monitor.belief('1')?.state, 'suspect')
  watch(1, 'pending', { incarnation: 2 })
  assert.equal(monitor.belief('1')?.state, 'pending')
  // On record from elsewhere, with nothing newer believed here.
  watch(1, 'offline', { incarnation: 2 })
  assert.equal(monitor.belief('1')?.state, 'offline')
})

test('heartbeats of an offline instance bring the next look forward, but not faster than each second', async () => {
  const { monitor, watch, pass, probed, findings } = openMonitor()
  findings.set(1, 'refused')
  watch(1, 'offline')
  await pass(60_000, 100)
  const before = probed.length
  for (let beat = 0; beat < 50; beat++) {
    monitor.lookSoon('1')
    await pass(100)
  }
  assert(probed.length - before <= 6, `${probed.length - before}`)
  assert(probed.length - before >= 4)
})

test('when there is no place to probe, what is due waits and is not lost', async () => {
  const { monitor, watch, pass, beliefs, limitPlaces } = openMonitor()
  limitPlaces(0)
  for (let port = 1; port <= 5; port++) watch(port)
  await pass(3_000)
  assert.deepEqual(beliefs, [])
  limitPlaces(3)
  await pass(100)
  assert.equal(beliefs.length, 3)
  limitPlaces(10)
  await pass(100)
  assert.equal(beliefs.length, 5)
  assert.equal(monitor.watching, 5)
})

test('a suspect does not stand in line behind those that have just come', async () => {
  const { monitor, watch, pass, beliefs, findings, limitPlaces } = openMonitor()
  limitPlaces(0)
  for (let port = 2; port <= 500; port++) watch(port)
  watch(1, 'healthy')
  await pass(2_000)
  findings.set(1, 'refused')
  monitor.report('1', 1, { kind: 'doubted', reason: 'connection refused' })
  await pass(900)
  assert.deepEqual(beliefs, ['1 suspect', '1 offline'])
})

test('a timeout is rechecked after 1 s and 3 s, and the third puts it offline', async () => {
  const { watch, pass, probed, beliefs, hanging } = openMonitor()
  hanging.add(1)
  watch(1, 'healthy', { intervalMs: 5_000 })
  await pass(30_000, 100)
  assert.deepEqual(beliefs, ['1 offline'])
  const [first, second, third] = probed.map(({ atMs }) => atMs)
  assert(first !== undefined && second !== undefined && third !== undefined)
  // From the answer on, so that one that hangs is never probed twice at once.
  assert(second - first >= 6_000 && second - first <= 6_200, `${second - first}`)
  assert(third - second >= 8_000 && third - second <= 8_200, `${third - second}`)
  assert.deepEqual(
    probed.slice(0, 3).map(({ lane }) => lane),
    ['routine', 'slow', 'slow'],
    'who hung once waits where it makes nobody else wait',
  )
})

test('one that flaps is suspect and healthy in turns, and never offline', async () => {
  const { monitor, watch, pass, beliefs } = openMonitor()
  watch(1, 'healthy')
  for (let turn = 0; turn < 5; turn++) {
    monitor.report('1', 1, { kind: 'refused', reason: 'connection refused' })
    await pass(1_000)
  }
  assert.deepEqual(beliefs, Array.from({ length: 5 }, () => ['1 suspect', '1 healthy']).flat())
})

test('a look that says nothing of the instance changes nothing, is not kept, and is repeated soon', async () => {
  const { watch, pass, probed, findings, beliefs, checked, monitor } = openMonitor()
  findings.set(1, 'unjudged')
  watch(1, 'healthy')
  await pass(60_000, 100)
  assert(probed.length >= 20, `${probed.length}`)
  assert.deepEqual([beliefs, checked], [[], []])
  assert.equal(monitor.belief('1')?.state, 'healthy')
  assert(monitor.statistics.outcomes.unjudged >= 20)
  findings.set(1, 'passed')
  await pass(2_000)
  assert.deepEqual(checked, ['1 passed'])
})

test('a new interval counts at once, and a change of anything else moves no look', async () => {
  const { watch, pass, probed } = openMonitor()
  watch(1, 'healthy')
  await pass(30_000, 100)
  const first = probed[0]?.atMs ?? 0
  for (let change = 0; change < 290; change++) {
    watch(1, 'healthy', { healthEndpoint: `/up?${change}` })
    await pass(100, 100)
  }
  await pass(2_000, 100)
  assert.deepEqual(
    probed.map(({ atMs }) => Math.round((atMs - first) / 1_000)),
    [0, 30],
  )
  watch(1, 'healthy', { intervalMs: 5_000 })
  const before = probed.length
  await pass(60_000, 100)
  assert.equal(probed.length - before, 12)
})

test('a record that changes all the time puts no recheck off', async () => {
  const { monitor, watch, pass, findings, beliefs, clock } = openMonitor()
  watch(1, 'healthy')
  findings.set(1, 'failed')
  monitor.report('1', 1, { kind: 'failed', reason: 'answered 503' })
  const startMs = clock.monotonicMs()
  while (beliefs.length === 0 && clock.monotonicMs() - startMs < 20_000) {
    watch(1, 'healthy', { healthEndpoint: `/up?${clock.monotonicMs()}` })
    await pass(100)
  }
  assert.deepEqual(beliefs, ['1 offline'])
  assert(clock.monotonicMs() - startMs <= 4_500, 'after 1 s and 3 s')
})

test('how late a check began is known, also when it waited for a place', async () => {
  const { watch, pass, monitor, limitPlaces } = openMonitor()
  watch(1, 'healthy')
  limitPlaces(0)
  await pass(60_000, 100)
  assert.equal(monitor.overdue(), 1)
  limitPlaces(1)
  await pass(100)
  assert.equal(monitor.overdue(), 0)
  assert(monitor.statistics.lateP99Ms() >= 30_000)
  assert(Math.abs(monitor.demandPerSecond - 1 / 30) < 1e-9)
  monitor.forget('1')
  assert.equal(monitor.demandPerSecond, 0)
})

test('a stopped monitor leaves no timer and changes its mind no more', async () => {
  const { monitor, watch, pass, clock, beliefs } = openMonitor()
  watch(1)
  clock.advance(1_000)
  monitor.stop()
  await pass(5_000)
  assert.deepEqual(beliefs, [])
  assert.equal(clock.pending, 0)
})
