/**
 * One look at an instance: does it answer, and what does that say?
 *
 * HTTP: 2xx passes, 429 passes as degraded, everything else fails; redirects are not followed,
 * because they would make Haus connect to an address nobody registered. Without a health path, or
 * with `tcp`, an accepted connection passes. Certificates are not verified: a probe sends no
 * secret and asks only whether something answers, and certificates are made for names while
 * probes go to addresses. The address is checked again here, after it has been resolved.
 *
 * Places are limited twice: at most 64 probes at a time, and 250 at once, then 125 a second, since
 * a burst of registrations must not become a burst of connections on the thread that answers.
 * Urgent probes, of an instance that may have just died, have places and a pace of their own.
 */
import http from 'node:http'
import https from 'node:https'
import net, { type LookupFunction, type Socket } from 'node:net'
import type { Clock } from '../../platform/clock/clock.ts'

export interface Target {
  readonly address: string
  readonly port: number
  readonly scheme: 'http' | 'https' | 'tcp'
  readonly healthEndpoint: string | null
}

export interface Finding {
  /** `refused`: certainly nobody; `failed`: perhaps a hiccup. */
  readonly kind: 'passed' | 'ailing' | 'refused' | 'failed'
  /** Null when it passed. */
  readonly reason: string | null
  /** What the owner of the service can do about it. */
  readonly mend: string | null
  readonly latencyMs: number
}

/** What may be connected to; the registry's rules, asked at every connect. */
export interface ConnectRules {
  refusal(ip: string, port: number): string | null
  lookupFor(port: number): LookupFunction
}

export interface Prober {
  /** Null when there is no place now; the caller comes back later. */
  probe(target: Target, urgent?: boolean): Promise<Finding> | null
  /** Milliseconds until there may be a place. */
  readonly retryAfterMs: number
  /** Ends what is under way. */
  stop(): void
}

interface ProberOptions {
  readonly clock: Clock
  readonly rules: ConnectRules
  readonly concurrencyMax?: number
  readonly perSecondMax?: number
  readonly burstMax?: number
}

const probeTimeoutMs = 5_000
/** A host that is there answers a connect in milliseconds; this finds one that is not. */
const connectTimeoutMs = 1_000
const concurrencyDefault = 64
/** Routine probes leave a quarter of the places to urgent ones. */
const routineShare = 0.75
/** What starts together in ordinary use: each of them is looked at within its first second. */
const burstDefault = 250
/** Half a millisecond of this thread each: 6% of it, while a crowd is looked at one after another. */
const perSecondDefault = 125
/** A host with 500 instances that dies is judged within a second or two. */
const urgentPerSecond = 500
/** Enough for any health report; the rest of a larger body is not read. */
const bodyMaxBytes = 64 * 1024
const headersMaxBytes = 16 * 1024

type Verdict = Omit<Finding, 'latencyMs'>

export function createProber(options: ProberOptions): Prober {
  const { clock, rules } = options
  const concurrencyMax = options.concurrencyMax ?? concurrencyDefault
  const perSecondMax = options.perSecondMax ?? perSecondDefault
  const sockets = new Set<Socket>()
  let underWay = 0
  let stopped = false
  const routinePace = createPace(clock, perSecondMax, options.burstMax ?? burstDefault)
  const urgentPace = createPace(clock, urgentPerSecond, urgentPerSecond)
  const routinePlaces = Math.max(1, Math.floor(concurrencyMax * routineShare))

  function takePlace(urgent: boolean): boolean {
    const places = urgent ? concurrencyMax : routinePlaces
    if (stopped || underWay >= places) return false
    if (!(urgent ? urgentPace : routinePace).take()) return false
    underWay += 1
    return true
  }

  function look(target: Target): Promise<Verdict> {
    const literal = net.isIP(target.address) !== 0
    const why = literal ? rules.refusal(target.address, target.port) : null
    if (why !== null) return Promise.resolve(refusedAddress(target, `${target.address} ${why}`))
    return new Promise((resolve) => {
      let socket: Socket | undefined
      let cancelTimeout = (): void => {}
      const settle = (verdict: Verdict): void => {
        cancelTimeout()
        resolve(verdict)
      }
      const giveUp = (timeoutMs: number, doing: string) => (): void => {
        settle(timedOut(target, timeoutMs, doing))
        socket?.destroy()
      }
      const follow = (opened: Socket, whenConnected: () => void): void => {
        socket = opened
        sockets.add(opened)
        opened.once('close', () => {
          cancelTimeout()
          sockets.delete(opened)
        })
        cancelTimeout = clock.after(connectTimeoutMs, giveUp(connectTimeoutMs, 'connect'))
        opened.once('connect', () => {
          cancelTimeout()
          cancelTimeout = clock.after(probeTimeoutMs, giveUp(probeTimeoutMs, 'answer'))
          whenConnected()
        })
      }
      const lookup = rules.lookupFor(target.port)
      if (target.scheme === 'tcp' || target.healthEndpoint === null) {
        const opened = net.connect({ host: target.address, port: target.port, lookup })
        follow(opened, () => {
          settle({ kind: 'passed', reason: null, mend: null })
          opened.destroy()
        })
        opened.on('error', (error) => settle(verdictOfError(target, error)))
        opened.once('close', () => settle(closedEarly(target)))
        return
      }
      const request = (target.scheme === 'https' ? https : http).request({
        host: target.address,
        port: target.port,
        path: target.healthEndpoint,
        method: 'GET',
        agent: false,
        lookup,
        rejectUnauthorized: false,
        maxHeaderSize: headersMaxBytes,
        headers: { 'user-agent': 'haus', accept: '*/*', connection: 'close' },
      })
      let found: Verdict | undefined
      request.once('socket', (opened) => follow(opened, () => {}))
      request.on('error', (error) => settle(found ?? verdictOfError(target, error)))
      request.once('close', () => settle(found ?? closedEarly(target)))
      request.once('response', (response) => {
        const verdict = verdictOfStatus(target, response.statusCode ?? 0)
        found = verdict
        // A body that is read lets the service finish its answer in peace; one without end is cut.
        let received = 0
        response.on('data', (chunk: Buffer) => {
          received += chunk.length
          if (received > bodyMaxBytes) response.destroy()
        })
        response.on('error', () => {})
        response.once('close', () => settle(verdict))
      })
      request.end()
    })
  }

  return {
    probe(target, urgent = false) {
      if (!takePlace(urgent)) return null
      const startedMs = clock.monotonicMs()
      return look(target).then((verdict) => {
        underWay -= 1
        return { ...verdict, latencyMs: clock.monotonicMs() - startedMs }
      })
    },
    get retryAfterMs() {
      return underWay >= routinePlaces ? 50 : Math.max(10, Math.ceil(1_000 / perSecondMax))
    },
    stop() {
      stopped = true
      for (const socket of sockets) socket.destroy()
    },
  }
}

/** A token bucket: `burst` at once, then so many per second. */
function createPace(clock: Clock, perSecond: number, burst: number): { take(): boolean } {
  let tokens = burst
  let filledAtMs = clock.monotonicMs()
  return {
    take() {
      const nowMs = clock.monotonicMs()
      tokens = Math.min(burst, tokens + ((nowMs - filledAtMs) * perSecond) / 1_000)
      filledAtMs = nowMs
      if (tokens < 1) return false
      tokens -= 1
      return true
    },
  }
}

function placeOf({ address, port }: Target): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

function isLoopback({ address }: Target): boolean {
  return address.startsWith('127.') || address === '::1' || address === 'localhost'
}

function verdictOfStatus(target: Target, status: number): Verdict {
  const path = target.healthEndpoint ?? '/'
  if (status >= 200 && status < 300) return { kind: 'passed', reason: null, mend: null }
  const reason = `GET ${path} answered ${status}`
  if (status === 429) return { kind: 'ailing', reason, mend: null }
  const mend =
    status >= 300 && status < 400
      ? `${reason}, a redirect, which Haus does not follow: name the path that answers 2xx itself in healthEndpoint.`
      : status === 404
        ? `${reason}: is healthEndpoint the right path, and is it this service that listens on ${placeOf(target)}?`
        : status === 401 || status === 403
          ? `${reason}: let the health path answer without a login.`
          : `${reason}: it must answer 2xx while the service works.`
  return { kind: 'failed', reason, mend }
}

function timedOut(target: Target, timeoutMs: number, doing: string): Verdict {
  const seconds = timeoutMs / 1_000
  const place = placeOf(target)
  if (doing === 'connect') {
    const reason = `no connection within ${seconds} s`
    const mend = `${place} did not take a connection within ${seconds} s: does a firewall or a security group stand between Haus and it, and is the address right?`
    return { kind: 'failed', reason, mend }
  }
  const reason = `no answer within ${seconds} s`
  const mend = `${place} took the connection and did not answer ${target.healthEndpoint ?? ''} within ${seconds} s: is it still starting, or waiting for something?`
  return { kind: 'failed', reason, mend }
}

function closedEarly(target: Target): Verdict {
  return {
    kind: 'refused',
    reason: 'connection closed without an answer',
    mend: `${placeOf(target)} closed the connection without an answer: is the scheme "${target.scheme}" right?`,
  }
}

function refusedAddress(target: Target, detail: string): Verdict {
  return {
    kind: 'failed',
    reason: 'address refused',
    mend: `Haus does not connect there: ${detail}. Register the address on which the service listens, not ${placeOf(target)}.`,
  }
}

function verdictOfError(target: Target, error: Error): Verdict {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  const place = placeOf(target)
  if (error.name === 'AddressRefused') return refusedAddress(target, error.message)
  switch (code) {
    case 'ECONNREFUSED':
      return {
        kind: 'refused',
        reason: 'connection refused',
        mend: isLoopback(target)
          ? `Nothing listens on ${place}: register when the service listens, on the machine where Haus runs.`
          : `Nothing listens on ${place} as Haus sees it: has the service started, and does it listen on 0.0.0.0 and not on 127.0.0.1 only?`,
      }
    case 'ECONNRESET':
    case 'EPIPE':
      return {
        kind: 'refused',
        reason: 'connection reset',
        mend: `${place} cut the connection: is the scheme "${target.scheme}" right?`,
      }
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'EHOSTDOWN':
    case 'EADDRNOTAVAIL':
      return {
        kind: 'refused',
        reason: 'no route',
        mend: `There is no route from Haus to ${place}: are they on the same network, and is the address right?`,
      }
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return {
        kind: 'failed',
        reason: 'name not resolved',
        mend: `The name ${target.address} does not resolve where Haus runs: register an IP address, or add the name to its DNS.`,
      }
    case 'ETIMEDOUT':
      return timedOut(target, connectTimeoutMs, 'connect')
    default:
      return notUnderstood(target, code)
  }
}

function notUnderstood(target: Target, code: string): Verdict {
  const other = target.scheme === 'https' ? 'http' : 'https'
  return {
    kind: 'failed',
    reason: `not understood as ${target.scheme}${code === '' ? '' : ` (${code})`}`,
    mend: `What answers on ${placeOf(target)} does not speak ${target.scheme}: is the scheme ${other} or tcp, or does another program use the port?`,
  }
}
