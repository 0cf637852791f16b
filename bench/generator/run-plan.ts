/**
 * Runs one plan: a closed or an open loop over a fixed set of connections, bounded in time, in
 * requests and in memory.
 *
 * The open loop does not forgive: a request that waits for a free connection because the server is
 * slow has been due all the while, and its latency says so (no coordinated omission).
 */
import { HttpConnection } from './http-connection.ts'
import { LatencyHistogram } from './latency-histogram.ts'
import type { FailureSample, Plan, PlanResult } from './plan.ts'
import { renderTemplate } from './render-request.ts'

export interface PlanEvents {
  onMeasuring?: () => void
  onMeasured?: () => void
  onProgress?: (answered: number, failed: number) => void
}

const samplesMax = 8
const sampleMaxChars = 500
const sweepIntervalMs = 50
const progressIntervalMs = 1_000
/** A server that refuses connections must not be hammered in a busy loop. */
const retryPauseMs = 50

export async function runPlan(
  plan: Plan,
  events: PlanEvents = {},
  nowMs = (): number => performance.now(),
): Promise<PlanResult> {
  const firstNumber = plan.firstNumber ?? 0
  const requestsMax = plan.requestsMax ?? Infinity
  const templates = plan.templates.map((template) =>
    renderTemplate(template, `${plan.host}:${plan.port}`),
  )
  if (templates.length === 0) throw new Error('The plan has no template')

  const latency = new LatencyHistogram()
  const lateness = new LatencyHistogram()
  const statuses: Record<string, number> = {}
  const failures: Record<string, number> = {}
  const samples: FailureSample[] = []
  const acknowledged = plan.recordAcknowledged === true ? new BitSet() : null
  const { promise: finished, resolve: finish } = Promise.withResolvers<void>()

  const startMs = nowMs()
  const measureFromMs = startMs + plan.warmupMs
  const endMs = measureFromMs + plan.durationMs
  let cpuAtStart = process.cpuUsage()
  let generatorCpuMs = 0
  let measuringSinceMs = measureFromMs
  let measuredMs = plan.durationMs
  let phase: 'warmup' | 'measuring' | 'draining' = 'warmup'
  let sent = 0
  let answered = 0
  let failed = 0
  let completed = 0

  const free: HttpConnection[] = []
  const connections = Array.from(
    { length: plan.connections },
    () =>
      new HttpConnection(plan, { wantBody: isUnexpected, answered: onAnswer, failed: onFailure }),
  )

  function templateOf(number: number) {
    const template = templates[number % templates.length]
    if (template === undefined) throw new Error('unreachable: the index is taken modulo the length')
    return template
  }

  /** Bodies are only read to explain a failure. */
  function isUnexpected(status: number): boolean {
    return (status < 200 || status > 299) && samples.length < samplesMax
  }

  function send(connection: HttpConnection, dueMs: number): void {
    const number = firstNumber + sent
    const template = templateOf(number)
    sent += 1
    connection.number = number
    connection.dueMs = dueMs
    connection.sentMs = nowMs()
    connection.send(template.render(number), template.withoutBody)
  }

  function onAnswer(connection: HttpConnection, status: number, body: Buffer | null): void {
    answered += 1
    statuses[status] = (statuses[status] ?? 0) + 1
    if (status === templateOf(connection.number).expect) {
      acknowledged?.add(connection.number - firstNumber)
      measure(connection)
    } else {
      countFailure(`status ${status}`, connection.number, body?.toString('utf8') ?? '')
    }
    release(connection)
  }

  function onFailure(connection: HttpConnection, reason: string): void {
    countFailure(reason, connection.number, '')
    // Timed retry: the server may be down, and then it fails within microseconds.
    if (phase === 'draining') release(connection)
    else setTimeout(() => release(connection), retryPauseMs)
  }

  function measure({ dueMs, sentMs }: HttpConnection): void {
    const open = plan.ratePerSecond !== undefined
    // Open: what fell due while measuring counts, however late. Closed: what came back by then.
    const counts = open ? dueMs >= measureFromMs && dueMs < endMs : phase === 'measuring'
    if (!counts) return
    completed += 1
    latency.recordMs(nowMs() - dueMs)
    if (open) lateness.recordMs(sentMs - dueMs)
  }

  function countFailure(reason: string, number: number, body: string): void {
    failed += 1
    failures[reason] = (failures[reason] ?? 0) + 1
    if (samples.length < samplesMax) {
      samples.push({ reason, number, body: body.slice(0, sampleMaxChars) })
    }
  }

  let over = false
  let owed = (): number => 0
  let release = (connection: HttpConnection): void => {
    if (over) return
    if (phase === 'draining' || sent >= requestsMax) return retire(connection)
    send(connection, nowMs())
  }

  let retired = 0
  function retire(connection: HttpConnection): void {
    connection.close()
    retired += 1
    if (retired === connections.length) finish()
  }

  const timers: NodeJS.Timeout[] = []
  if (plan.ratePerSecond !== undefined) {
    const intervalMs = 1000 / plan.ratePerSecond
    // From the plan alone: the difference of two clock readings is rounded, and a rounded
    // `endMs - startMs` would owe a request that nobody was to send.
    const ofRate = Math.ceil(((plan.warmupMs + plan.durationMs) * plan.ratePerSecond) / 1000)
    const dueMax = Math.min(ofRate, requestsMax)
    let due = 0
    const dispatch = (): void => {
      const untilMs = nowMs()
      while (due < dueMax) {
        const dueMs = startMs + due * intervalMs
        if (dueMs > untilMs) return
        const connection = free.pop()
        // It stays due; the next answer picks it up.
        if (connection === undefined) return
        due += 1
        send(connection, dueMs)
      }
    }
    const allSent = (): boolean => due >= dueMax
    owed = () => dueMax - due
    release = (connection) => {
      if (over) return
      if (phase === 'draining' && allSent()) return retire(connection)
      free.push(connection)
      dispatch()
    }
    const tick = setInterval(() => {
      dispatch()
      if (phase === 'draining' && allSent()) for (const idle of free.splice(0)) retire(idle)
    }, 1)
    timers.push(tick)
  }

  const sweep = setInterval(() => {
    const oldestMs = nowMs() - plan.answerTimeoutMs
    for (const connection of connections) {
      if (connection.busy && connection.sentMs < oldestMs) connection.abort('timeout')
    }
  }, sweepIntervalMs)
  const progress = setInterval(() => events.onProgress?.(answered, failed), progressIntervalMs)
  timers.push(sweep, progress)

  const beginMeasuring = (): void => {
    phase = 'measuring'
    measuringSinceMs = nowMs()
    cpuAtStart = process.cpuUsage()
    events.onMeasuring?.()
  }
  const endMeasuring = (): void => {
    if (phase === 'draining') return
    phase = 'draining'
    const cpu = process.cpuUsage(cpuAtStart)
    generatorCpuMs = (cpu.user + cpu.system) / 1000
    measuredMs = nowMs() - measuringSinceMs
    events.onMeasured?.()
    // A last bound: what was sent before the end of the run has had its whole time. Counted from
    // here, since on a busy machine this timer itself is late, and so was the last request.
    timers.push(setTimeout(finish, plan.answerTimeoutMs * 2))
  }
  timers.push(setTimeout(beginMeasuring, plan.warmupMs))
  timers.push(setTimeout(endMeasuring, plan.warmupMs + plan.durationMs))

  if (plan.ratePerSecond === undefined) {
    for (const connection of connections) send(connection, nowMs())
  } else {
    free.push(...connections)
  }
  await finished
  if (phase === 'warmup') beginMeasuring()
  endMeasuring()
  over = true
  for (const timer of timers) clearTimeout(timer)
  for (let missing = owed(); missing > 0; missing -= 1)
    countFailure('never sent', firstNumber + sent, '')
  for (const connection of connections) {
    if (connection.busy) countFailure('abandoned', connection.number, '')
    connection.close()
  }
  return {
    completed,
    measuredMs,
    latency: latency.snapshot(),
    lateness: lateness.snapshot(),
    sent,
    answered,
    statuses,
    failures,
    failed,
    samples,
    generatorCpuMs,
    nextNumber: firstNumber + sent,
    ...(acknowledged === null ? {} : { acknowledged: acknowledged.toBase64() }),
  }
}

/** Grows with the highest number; a million of them are 125 KB. */
class BitSet {
  #bytes = new Uint8Array(8 * 1024)

  add(place: number): void {
    const byte = place >> 3
    if (byte >= this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#bytes.length * 2, byte + 1))
      larger.set(this.#bytes)
      this.#bytes = larger
    }
    this.#bytes[byte] = (this.#bytes[byte] ?? 0) | (1 << (place & 7))
  }

  toBase64(): string {
    return Buffer.from(this.#bytes).toString('base64')
  }
}

/** The numbers in `PlanResult.acknowledged`, counted from the first of the plan. */
export function acknowledgedNumbers(result: PlanResult, firstNumber = 0): number[] {
  const numbers: number[] = []
  Buffer.from(result.acknowledged ?? '', 'base64').forEach((byte, place) => {
    for (let bit = 0; bit < 8; bit += 1) {
      if ((byte >> bit) & 1) numbers.push(firstNumber + place * 8 + bit)
    }
  })
  return numbers
}
