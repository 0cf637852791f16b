import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ManualClock } from '../../testing/manual-clock.ts'
import { DueQueue } from './due-queue.ts'
import { createMonitor, type Watched } from './monitor.ts'
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
            assert.equal(model.get(taken), earliest)
            model.delete(taken)
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
  const probed: { id: string; atMs: number }[] = []
  const findings = new Map<number, Finding['kind']>()
  const beliefs: string[] = []
  let places = Number.POSITIVE_INFINITY
  const prober: Prober = {
    probe({ port }, urgent) {
      if (places <= 0 && urgent !== true) return null
      places -= 1
      probed.push({ id: String(port), atMs: clock.monotonicMs() })
      const kind = findings.get(port) ?? 'passed'
      const reason = kind === 'passed' ? null : kind
      return Promise.resolve({ kind, reason, mend: null, latencyMs: 1 })
    },
    retryAfterMs: 10,
    stop() {},
  }
  const monitor = createMonitor({
    clock,
    prober,
    unit: () => 0,
    onBelief: (id, { state }) => beliefs.push(`${id} ${state}`),
  })
  monitor.start()
  const watched = (port: number, more: Partial<Watched> = {}): Watched => ({
    id: String(port),
    incarnation: 1,
    leased: true,
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
    beliefs,
    watch,
    pass,
    limitPlaces: (count: number) => (places = count),
  }
}

test('a suspect is probed at 0, 200 and 600 ms and is offline with the third', async () => {
  const { monitor, watch, pass, probed, findings, beliefs, clock } = openMonitor()
  watch(1, 'healthy')
  await pass(1_000)
  assert.equal(probed.length, 0, 'a living lease vouches for it')
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

test('what no lease vouches for is probed every 30 s, at times that spread over the round', async () => {
  const { watch, pass, probed } = openMonitor()
  for (let port = 1; port <= 100; port++) watch(port, 'healthy', { leased: false })
  await pass(60_000, 100)
  assert(probed.length >= 190 && probed.length <= 210, `${probed.length}`)
  const busiest = Math.max(
    ...Array.from(
      { length: 60 },
      (_, second) =>
        probed.filter(({ atMs }) => atMs >= second * 1_000 && atMs < (second + 1) * 1_000).length,
    ),
  )
  assert(busiest < 20, `${busiest} in one second`)
})

test('an expired lease makes the probe decide: passing keeps the instance, and it is watched from then on', async () => {
  const { monitor, watch, pass, probed, beliefs } = openMonitor()
  watch(1, 'healthy')
  monitor.leaseLives('1', false)
  await pass(1_000)
  assert.deepEqual(beliefs, ['1 suspect', '1 healthy'])
  const before = probed.length
  await pass(65_000, 100)
  assert(probed.length - before >= 2)
  monitor.leaseLives('1', true)
  const renewed = probed.length
  await pass(65_000, 100)
  assert.equal(probed.length, renewed)
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

test('a stopped monitor leaves no timer and changes its mind no more', async () => {
  const { monitor, watch, pass, clock, beliefs } = openMonitor()
  watch(1)
  clock.advance(1_000)
  monitor.stop()
  await pass(5_000)
  assert.deepEqual(beliefs, [])
  assert.equal(clock.pending, 0)
})
