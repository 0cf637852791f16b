/**
 * Watches instances: collects evidence, keeps what is believed of each, and says when that
 * changes. What it believes counts at once, before anybody has written it down.
 *
 * Every instance is checked each `intervalMs`, whether it has a lease or not, at a time of its own
 * in the round: the hash of its id. In doubt it is looked at sooner. What is due is looked at in
 * the order in which it was due, lane by lane, so that what hangs or has only just come does not
 * make the rest late. It writes nothing and knows no database: who creates it is told of every
 * result and of every change.
 */
import type { Cancel, Clock } from '../../platform/clock/clock.ts'
import { DueQueue, type Appointment } from './due-queue.ts'
import { lanes, type Lane } from './places.ts'
import type { Finding, Prober, Target } from './probe.ts'
import { createCheckStatistics, type CheckStatistics } from './statistics.ts'
import {
  recheckAfterMs,
  standingAt,
  weigh,
  type Believed,
  type Evidence,
  type Standing,
} from './state.ts'

export interface Watched extends Target {
  readonly id: string
  readonly incarnation: number
  readonly leased: boolean
  /** Between two checks, while nothing is wrong. */
  readonly intervalMs: number
  /** In maintenance: not probed, and evidence is not collected. */
  readonly paused: boolean
}

export interface Belief {
  readonly incarnation: number
  readonly state: Believed
  readonly reason: string | null
  /** Wall time, for the record. */
  readonly since: string
}

export interface Monitor {
  /**
   * An instance to watch, or one that has changed. `recorded` is the state on record: it is
   * believed when the instance is new here, has started anew, or nothing newer is believed.
   */
  watch(watched: Watched, recorded: Believed, reason: string | null, since: string): void
  forget(id: string): void
  report(id: string, incarnation: number, evidence: Evidence): void
  reportFinding(id: string, incarnation: number, finding: Finding): void
  /** The lease lives again or does not: without one, the probe decides alone. */
  leaseLives(id: string, lives: boolean): void
  /** There is reason to look now, such as a heartbeat of an instance that was offline. */
  lookSoon(id: string): void
  belief(id: string): Belief | undefined
  readonly watching: number
  /** Regular checks that are due per second, on the average. */
  readonly demandPerSecond: number
  /** Due, and not begun for want of a place. */
  overdue(): number
  readonly statistics: CheckStatistics
  start(): void
  stop(): void
}

interface MonitorOptions {
  readonly clock: Clock
  readonly prober: Prober
  /** What is believed of an instance differs from what was believed before. */
  readonly onBelief: (id: string, belief: Belief) => void
  /** Somebody has looked, and it says something of the instance. */
  readonly onChecked?: (id: string, finding: Finding, intervalMs: number) => void
}

/** The first look by the monitor itself; a registration has usually looked already. */
const firstLookMs = 1_000
const lookAgainAfterMs = 1_000
/** After a look that said nothing of the instance. */
const unjudgedAgainMs = 1_000
/** Who took so long will probably take so long again. */
const slowMs = 1_000

interface Patient {
  watched: Watched
  standing: Standing
  since: string
  /** Until the record says what is believed, or something newer. */
  unrecorded: boolean
  leaseLives: boolean
  looking: boolean
  lookedAtMs: number
  /** When the last look was over. */
  answeredAtMs: number
  /** [0, 1): its place in every round. */
  readonly phase: number
  /** When the regular look is due; in the past: that one is done. */
  roundAtMs: number
  slow: boolean
}

export function createMonitor(options: MonitorOptions): Monitor {
  const { clock, prober, onBelief, onChecked = () => {} } = options
  const patients = new Map<string, Patient>()
  const queues: Readonly<Record<Lane, DueQueue>> = {
    urgent: new DueQueue(),
    routine: new DueQueue(),
    slow: new DueQueue(),
    newcomer: new DueQueue(),
  }
  const statistics = createCheckStatistics(clock)
  let running = false
  let demandPerSecond = 0
  /** Something is due and waits for a place. */
  let waiting = false
  let cancelTimer: Cancel | undefined
  let timerMs = Number.POSITIVE_INFINITY

  function arm(): void {
    if (!running) return
    let nextMs = Number.POSITIVE_INFINITY
    for (const lane of lanes) nextMs = Math.min(nextMs, queues[lane].nextMs() ?? Infinity)
    if (nextMs < timerMs) armAt(nextMs)
  }

  function armAt(atMs: number): void {
    cancelTimer?.()
    timerMs = atMs
    cancelTimer = clock.after(Math.max(0, atMs - clock.monotonicMs()), round)
  }

  function round(): void {
    cancelTimer?.()
    timerMs = Number.POSITIVE_INFINITY
    cancelTimer = undefined
    const nowMs = clock.monotonicMs()
    let nextMs = Number.POSITIVE_INFINITY
    waiting = false
    for (const lane of lanes) {
      const done = lookAll(lane, nowMs)
      waiting ||= !done
      const laneNextMs = done ? queues[lane].nextMs() : nowMs + prober.retryAfterMs(lane)
      nextMs = Math.min(nextMs, laneNextMs ?? Infinity)
    }
    if (nextMs < timerMs) armAt(nextMs)
  }

  prober.onFree(() => {
    if (running && waiting) round()
  })

  /** False when places ran out before everything that is due was looked at. */
  function lookAll(lane: Lane, nowMs: number): boolean {
    const queue = queues[lane]
    for (let due = queue.take(nowMs); due; due = queue.take(nowMs)) {
      const patient = patients.get(due.id)
      if (!patient || patient.looking || patient.watched.paused) continue
      if (!look(due, patient, lane)) {
        queue.set(due.id, due.dueMs)
        return false
      }
    }
    return true
  }

  function look({ id, dueMs }: Appointment, patient: Patient, lane: Lane): boolean {
    const { watched } = patient
    const probing = prober.probe(watched, lane)
    if (!probing) return false
    const nowMs = clock.monotonicMs()
    patient.looking = true
    patient.lookedAtMs = nowMs
    // Newcomers wait for their turn by design; everybody else has a time that was promised.
    const lateMs = lane === 'newcomer' ? null : nowMs - dueMs
    void probing.then((finding) => {
      patient.looking = false
      patient.answeredAtMs = clock.monotonicMs()
      if (!running || patients.get(id) !== patient) return
      // It may have started anew meanwhile; this was about the start before.
      if (patient.watched.incarnation === watched.incarnation) receive(id, patient, finding, lateMs)
      else plan(id, patient)
    })
    return true
  }

  function receive(id: string, patient: Patient, finding: Finding, lateMs: number | null): void {
    statistics.add(finding, lateMs)
    if (patient.watched.paused) return
    patient.slow = finding.latencyMs >= slowMs
    const evidence = evidenceOf(finding)
    if (!evidence) {
      plan(id, patient, unjudgedAgainMs)
      return
    }
    onChecked(id, finding, patient.watched.intervalMs)
    take(id, patient, evidence)
  }

  function take(id: string, patient: Patient, evidence: Evidence): void {
    if (patient.watched.paused) return
    const before = patient.standing
    patient.standing = weigh(before, evidence)
    if (patient.standing === before) return
    plan(id, patient)
    if (patient.standing.state === before.state) return
    patient.since = clock.now().toISOString()
    patient.unrecorded = true
    onBelief(id, beliefOf(patient))
  }

  function plan(id: string, patient: Patient, againMs?: number): void {
    cancelLook(id)
    if (patient.watched.paused || patient.looking) return
    const recheckMs = againMs ?? recheckAfterMs(patient.standing)
    if (recheckMs !== null) planLook(id, patient, clock.monotonicMs() + recheckMs)
    else queues[patient.slow ? 'slow' : 'routine'].set(id, nextRoundMs(patient))
    arm()
  }

  function planLook(id: string, patient: Patient, atMs: number): void {
    cancelLook(id)
    queues[laneOf(patient)].set(id, atMs)
    arm()
  }

  function cancelLook(id: string): void {
    for (const lane of lanes) queues[lane].delete(id)
  }

  /**
   * Its place in the round is its own, so that a house of thousands is not probed in one beat. A
   * look that is due and has not begun stays due, whatever changes meanwhile; one that came due
   * while another look was under way is done with it.
   */
  function nextRoundMs(patient: Patient): number {
    const { intervalMs } = patient.watched
    if (patient.roundAtMs > patient.answeredAtMs) return patient.roundAtMs
    const phaseMs = patient.phase * intervalMs
    const rounds = Math.floor((clock.monotonicMs() - phaseMs) / intervalMs) + 1
    patient.roundAtMs = rounds * intervalMs + phaseMs
    return patient.roundAtMs
  }

  return {
    watch(watched, recorded, reason, since) {
      const { id } = watched
      const known = patients.get(id)
      if (!known) {
        const patient: Patient = {
          watched,
          standing: standingAt(recorded, reason),
          since,
          unrecorded: false,
          leaseLives: watched.leased,
          looking: false,
          lookedAtMs: Number.NEGATIVE_INFINITY,
          answeredAtMs: Number.NEGATIVE_INFINITY,
          phase: phaseOf(id),
          roundAtMs: Number.NEGATIVE_INFINITY,
          slow: false,
        }
        patients.set(id, patient)
        demandPerSecond += 1_000 / watched.intervalMs
        plan(id, patient)
        if (recorded === 'pending') planLook(id, patient, clock.monotonicMs() + firstLookMs)
        return
      }
      const restarted = known.watched.incarnation !== watched.incarnation
      const paused = known.watched.paused !== watched.paused
      const resumed = paused && !watched.paused
      const repaced = known.watched.intervalMs !== watched.intervalMs
      if (repaced) {
        known.roundAtMs = Number.NEGATIVE_INFINITY
        demandPerSecond += 1_000 / watched.intervalMs - 1_000 / known.watched.intervalMs
      }
      known.watched = watched
      if (restarted) {
        known.leaseLives = watched.leased
        known.slow = false
      }
      // What is believed and not on record yet outlives an older record, but not a new beginning.
      const newer = known.unrecorded && !restarted && !resumed
      const renewed = restarted || resumed || (!newer && known.standing.state !== recorded)
      if (renewed) {
        known.standing = standingAt(recorded, reason)
        known.since = since
      }
      if (!newer || known.standing.state === recorded) known.unrecorded = false
      // A look that is planned stays planned: a record that changes often must not put it off.
      if (renewed || repaced || paused) plan(id, known)
      if (restarted && !known.looking && !watched.paused) {
        planLook(id, known, clock.monotonicMs() + firstLookMs)
      }
    },

    forget(id) {
      const patient = patients.get(id)
      if (!patient) return
      patients.delete(id)
      cancelLook(id)
      // Sums of fractions drift; nothing is exactly nothing.
      demandPerSecond =
        patients.size === 0 ? 0 : demandPerSecond - 1_000 / patient.watched.intervalMs
    },

    report(id, incarnation, evidence) {
      const patient = patients.get(id)
      if (patient?.watched.incarnation === incarnation) take(id, patient, evidence)
    },

    reportFinding(id, incarnation, finding) {
      const patient = patients.get(id)
      if (patient?.watched.incarnation === incarnation) receive(id, patient, finding, null)
    },

    leaseLives(id, lives) {
      const patient = patients.get(id)
      if (!patient || patient.leaseLives === lives) return
      patient.leaseLives = lives
      if (!lives) {
        take(id, patient, { kind: 'doubted', reason: 'no heartbeat within the lease' })
      }
    },

    lookSoon(id) {
      const patient = patients.get(id)
      if (!patient || patient.looking || patient.watched.paused) return
      const nowMs = clock.monotonicMs()
      // Whoever asks, asks with every heartbeat; a client must not set the pace of our probes.
      if (nowMs - patient.lookedAtMs < lookAgainAfterMs) return
      planLook(id, patient, nowMs)
    },

    belief(id) {
      const patient = patients.get(id)
      return patient && beliefOf(patient)
    },

    get watching() {
      return patients.size
    },

    get demandPerSecond() {
      return demandPerSecond
    },

    overdue() {
      const nowMs = clock.monotonicMs()
      return lanes.reduce((sum, lane) => sum + queues[lane].countDue(nowMs), 0)
    },

    statistics,

    start() {
      running = true
      arm()
    },

    stop() {
      running = false
      cancelTimer?.()
      timerMs = Number.POSITIVE_INFINITY
      prober.stop()
    },
  }
}

/** Where a look that is not the regular one stands in line. */
function laneOf({ standing, slow }: Patient): Lane {
  switch (standing.state) {
    case 'pending':
    case 'unknown':
      return 'newcomer'
    case 'suspect':
    case 'healthy':
    case 'degraded':
      return slow ? 'slow' : 'urgent'
    case 'offline':
      return slow ? 'slow' : 'routine'
  }
}

function beliefOf({ watched, standing, since }: Patient): Belief {
  const { state, reason } = standing
  return { incarnation: watched.incarnation, state, reason, since }
}

/** Null: it says nothing of the instance. */
function evidenceOf({ kind, reason }: Finding): Evidence | null {
  switch (kind) {
    case 'passed':
    case 'ailing':
      return { kind: 'passed', ailing: kind === 'ailing', reason }
    case 'refused':
      return { kind, reason: reason ?? kind }
    case 'timeout':
    case 'failed':
      return { kind: 'failed', reason: reason ?? kind }
    case 'unjudged':
      return null
  }
}

/** [0, 1), the same for an id on every process. */
function phaseOf(id: string): number {
  // FNV-1a, and a last stir for ids that differ in their last letter only: spread is all that is
  // asked of it, and every registration pays for it.
  let hash = 0x811c9dc5
  for (let at = 0; at < id.length; at++) {
    hash = Math.imul(hash ^ id.charCodeAt(at), 0x01000193)
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32
}
