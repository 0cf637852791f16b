/**
 * One line per request: where it went, how it ended, how long it took. Never a query value, a body
 * or a header; the path only without its query.
 *
 * Lines are gathered here and written by the main thread in batches. When it falls behind, lines are
 * lost and counted, because a log must not hold up traffic or fill the memory.
 */
export interface RequestRecord {
  readonly method: string
  readonly path: string
  readonly host: string
  readonly route: string | null
  readonly service: string | null
  readonly instance: string | null
  readonly caller: string | null
  readonly status: number
  readonly source: 'gateway' | 'upstream'
  /** The error code of an answer of the gateway. */
  readonly code: string | null
  readonly requestBytes: number
  readonly answerBytes: number
  readonly durationMs: number
  /** To the first byte of the answer; -1: there was none. */
  readonly firstByteMs: number
  readonly retries: number
  readonly requestId: string
  readonly traceId: string
}

/** Written at the latest so long after. */
export const logFlushMs = 100
/** A batch is sent early when it has so many characters. */
const batchChars = 64 * 1024
/** The longest: a head of 16 KiB, all of it path, each character as `\u0000`, with names and times. */
const lineMaxChars = 100 * 1024
/** What may be on its way to the main thread; at 300 characters a line some 14,000 requests. */
const underWayMaxChars = 4 * 1024 * 1024

export class RequestLog {
  /** Lines that were not written. */
  lost = 0
  /**
   * As bytes, because a text that grows is a tree of its pieces until it is read: kept for a batch,
   * they cost 15 µs of a request's 65 in collecting and joining.
   */
  readonly #batch = Buffer.allocUnsafeSlow(batchChars + lineMaxChars)
  #chars = 0
  #count = 0
  #underWayChars = 0
  readonly #send: ((lines: string, count: number) => void) | null

  /** `send` null: nothing is logged. */
  constructor(send: ((lines: string, count: number) => void) | null) {
    this.#send = send
  }

  get on(): boolean {
    return this.#send !== null
  }

  add(record: RequestRecord, nowMs: number): void {
    if (this.#underWayChars + this.#chars > underWayMaxChars) {
      this.lost += 1
      return
    }
    // What reaches the gateway as a request is Latin-1, so that a character is a byte.
    this.#chars += this.#batch.write(lineOf(record, nowMs), this.#chars, 'latin1')
    this.#count += 1
    if (this.#chars >= batchChars) this.flush()
  }

  flush(): void {
    if (this.#count === 0) return
    const lines = this.#batch.toString('latin1', 0, this.#chars)
    const count = this.#count
    this.#chars = 0
    this.#count = 0
    this.#underWayChars += lines.length
    this.#send?.(lines, count)
  }

  written(chars: number): void {
    this.#underWayChars -= chars
  }
}

/** The ISO form of the second is made once per second. */
let secondText = ''
let second = -1

function timeOf(nowMs: number): string {
  const whole = Math.floor(nowMs / 1_000)
  if (whole !== second) {
    second = whole
    secondText = new Date(whole * 1_000).toISOString().slice(0, 20)
  }
  return `${secondText}${String(1_000 + Math.floor(nowMs % 1_000)).slice(1)}Z`
}

function lineOf(r: RequestRecord, nowMs: number): string {
  const who = `${optional('code', r.code)}${optional('service', r.service)}${optional('instance', r.instance)}${optional('route', r.route)}${optional('caller', r.caller)}`
  const times = `"durationMs":${round(r.durationMs)}${r.firstByteMs < 0 ? '' : `,"firstByteMs":${round(r.firstByteMs)}`}${r.retries === 0 ? '' : `,"retries":${r.retries}`}`
  return `{"level":"info","time":"${timeOf(nowMs)}","name":"zimmer-13","gateway":"request","method":"${r.method}","host":${textOf(r.host)},"path":${textOf(r.path)},"status":${r.status},"source":"${r.source}"${who},"requestBytes":${r.requestBytes},"answerBytes":${r.answerBytes},${times},"requestId":"${r.requestId}","traceId":"${r.traceId}","msg":"a request went through the gateway"}\n`
}

/** Names, ids and codes of the house: nothing in them needs escaping. */
function optional(key: string, value: string | null): string {
  return value === null ? '' : `,"${key}":"${value}"`
}

const plain = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/

function textOf(value: string): string {
  return plain.test(value) ? `"${value}"` : JSON.stringify(value)
}

/** Hundredths; made of whole numbers, whose text V8 has at hand. */
function round(ms: number): string {
  const hundredths = Math.round(ms * 100)
  const rest = hundredths % 100
  const whole = (hundredths - rest) / 100
  return rest === 0 ? `${whole}` : `${whole}.${rest < 10 ? '0' : ''}${rest}`
}
