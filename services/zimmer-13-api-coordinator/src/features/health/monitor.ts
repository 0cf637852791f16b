/**
 * Watches instances: collects evidence, keeps what is believed of each, and says when that
 * changes. What it believes counts at once, before anybody has written it down.
 *
 * Now it probes whatever is not known to work, and what has no live lease to vouch for it;
 * `roundMs` is the one place that decides who is looked at regularly. It writes nothing and
 * knows no database: who creates it is told of every change.
 */
import { createHash } from 'node:crypto'
import type { Cancel, Clock } from '../../platform/clock/clock.ts'
import { DueQueue } from './due-queue.ts'
import type { Finding, Prober, Target } from './probe.ts'
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

interface Observation {
  readonly latencyMs: number
  readonly checkedAt: string
  readonly mend: string | null
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
  observation(id: string): Observation | undefined
  readonly watching: number
  start(): void
  stop(): void
}

interface MonitorOptions {
  readonly clock: Clock
  readonly prober: Prober
  /** Random share of a delay, [0, 1). */
  readonly unit: () => number
  /** What is believed of an instance differs from what was believed before. */
  readonly onBelief: (id: string, belief: Belief) => void
}

/** How often what cannot vouch for itself is looked at. */
const roundIntervalMs = 30_000
/** The first look by the monitor itself; a registration has usually looked already. */
const firstLookMs = 1_000
const lookAgainAfterMs = 1_000

interface Patient {
  watched: Watched
  standing: Standing
  since: string
  /** Until the record says what is believed, or something newer. */
  unrecorded: boolean
  leaseLives: boolean
  looking: boolean
  lookedAtMs: number
  observation: Observation | undefined
}

export function createMonitor(options: MonitorOptions): Monitor {
  const { clock, prober, unit, onBelief } = options
  const patients = new Map<string, Patient>()
  const due = new DueQueue()
  /** What may just have died does not stand in line behind thousands that have just come. */
  const urgent = new DueQueue()
  let running = false
  let cancelTimer: Cancel | undefined
  let timerMs = Number.POSITIVE_INFINITY

  function arm(): void {
    if (!running) return
    const nextMs = Math.min(urgent.nextMs() ?? Infinity, due.nextMs() ?? Infinity)
    if (nextMs < timerMs) armAt(nextMs)
  }

  function armAt(atMs: number): void {
    cancelTimer?.()
    timerMs = atMs
    cancelTimer = clock.after(Math.max(0, atMs - clock.monotonicMs()), round)
  }

  function round(): void {
    timerMs = Number.POSITIVE_INFINITY
    cancelTimer = undefined
    const nowMs = clock.monotonicMs()
    const urgentDone = lookAll(urgent, nowMs)
    const dueDone = lookAll(due, nowMs)
    if (urgentDone && dueDone) arm()
    else armAt(nowMs + prober.retryAfterMs)
  }

  /** False when places ran out before everything that is due was looked at. */
  function lookAll(queue: DueQueue, nowMs: number): boolean {
    for (let id = queue.take(nowMs); id !== null; id = queue.take(nowMs)) {
      const patient = patients.get(id)
      if (!patient || patient.looking || patient.watched.paused) continue
      if (!look(id, patient, queue === urgent)) {
        queue.set(id, nowMs)
        return false
      }
    }
    return true
  }

  function look(id: string, patient: Patient, isUrgent: boolean): boolean {
    const { watched } = patient
    const probing = prober.probe(watched, isUrgent)
    if (!probing) return false
    patient.looking = true
    patient.lookedAtMs = clock.monotonicMs()
    void probing.then((finding) => {
      patient.looking = false
      if (!running || patients.get(id) !== patient) return
      // It may have started anew meanwhile; this was about the start before.
      if (patient.watched.incarnation === watched.incarnation) receive(id, patient, finding)
      else plan(id, patient)
    })
    return true
  }

  function receive(id: string, patient: Patient, finding: Finding): void {
    const { latencyMs, mend } = finding
    patient.observation = { latencyMs, mend, checkedAt: clock.now().toISOString() }
    take(id, patient, evidenceOf(finding))
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

  function plan(id: string, patient: Patient): void {
    cancelLook(id)
    if (patient.watched.paused || patient.looking) return
    const nowMs = clock.monotonicMs()
    const recheckMs = recheckAfterMs(patient.standing)
    const everyMs = roundMs(patient)
    if (recheckMs !== null) queueFor(patient).set(id, nowMs + recheckMs)
    else if (everyMs !== null) due.set(id, nextRoundMs(id, nowMs, everyMs))
    arm()
  }

  function cancelLook(id: string): void {
    due.delete(id)
    urgent.delete(id)
  }

  /** In doubt while it is in service: the answer decides who gets traffic. */
  function queueFor({ standing }: Patient): DueQueue {
    const { state } = standing
    return state === 'suspect' || state === 'healthy' || state === 'degraded' ? urgent : due
  }

  /** Hashed, so that a house of thousands is not probed in one beat; jittered against other rhythms. */
  function nextRoundMs(id: string, nowMs: number, everyMs: number): number {
    const phaseMs = phaseOf(id) * everyMs
    const rounds = Math.floor((nowMs - phaseMs) / everyMs) + 1
    return rounds * everyMs + phaseMs + unit() * everyMs * 0.05
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
          observation: undefined,
        }
        patients.set(id, patient)
        plan(id, patient)
        if (recorded === 'pending') {
          due.set(id, clock.monotonicMs() + firstLookMs)
          arm()
        }
        return
      }
      const restarted = known.watched.incarnation !== watched.incarnation
      const resumed = known.watched.paused && !watched.paused
      known.watched = watched
      if (restarted) {
        known.leaseLives = watched.leased
        known.observation = undefined
      }
      if (restarted || resumed || !known.unrecorded) {
        if (restarted || resumed || known.standing.state !== recorded) {
          known.standing = standingAt(recorded, reason)
          known.since = since
        }
        known.unrecorded = false
      } else if (known.standing.state === recorded) {
        known.unrecorded = false
      }
      plan(id, known)
      if (restarted && !known.looking) {
        due.set(id, clock.monotonicMs() + firstLookMs)
        arm()
      }
    },

    forget(id) {
      patients.delete(id)
      cancelLook(id)
    },

    report(id, incarnation, evidence) {
      const patient = patients.get(id)
      if (patient?.watched.incarnation === incarnation) take(id, patient, evidence)
    },

    reportFinding(id, incarnation, finding) {
      const patient = patients.get(id)
      if (patient?.watched.incarnation === incarnation) receive(id, patient, finding)
    },

    leaseLives(id, lives) {
      const patient = patients.get(id)
      if (!patient || patient.leaseLives === lives) return
      patient.leaseLives = lives
      if (!lives) {
        take(id, patient, { kind: 'doubted', reason: 'no heartbeat within the lease' })
      }
      plan(id, patient)
    },

    lookSoon(id) {
      const patient = patients.get(id)
      if (!patient || patient.looking || patient.watched.paused) return
      const nowMs = clock.monotonicMs()
      // Whoever asks, asks with every heartbeat; a client must not set the pace of our probes.
      if (nowMs - patient.lookedAtMs < lookAgainAfterMs) return
      cancelLook(id)
      queueFor(patient).set(id, nowMs)
      arm()
    },

    belief(id) {
      const patient = patients.get(id)
      return patient && beliefOf(patient)
    },

    observation: (id) => patients.get(id)?.observation,

    get watching() {
      return patients.size
    },

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

/** How often an instance is looked at while nothing is wrong with it; null: its lease vouches for it. */
function roundMs({ watched, leaseLives, standing }: Patient): number | null {
  const vouched = watched.leased && leaseLives
  const works = standing.state === 'healthy' || standing.state === 'degraded'
  return vouched && works ? null : roundIntervalMs
}

function beliefOf({ watched, standing, since }: Patient): Belief {
  const { state, reason } = standing
  return { incarnation: watched.incarnation, state, reason, since }
}

function evidenceOf({ kind, reason }: Finding): Evidence {
  switch (kind) {
    case 'passed':
    case 'ailing':
      return { kind: 'passed', ailing: kind === 'ailing', reason }
    case 'refused':
    case 'failed':
      return { kind, reason: reason ?? kind }
  }
}

/** [0, 1), the same for an id on every process. */
function phaseOf(id: string): number {
  return createHash('sha256').update(id).digest().readUInt32BE(0) / 2 ** 32
}
