/**
 * One look at an instance: does it answer, and what does that say?
 *
 * HTTP: 2xx passes, 429 passes as degraded, everything else fails; redirects are not followed,
 * because they would make Haus connect to an address nobody registered. Without a health path, or
 * with `tcp`, an accepted connection passes. Certificates are not verified: a probe sends no
 * secret and asks only whether something answers, and certificates are made for names while
 * probes go to addresses. The address is checked again here, after it has been resolved.
 *
 * Nobody is judged by our own trouble. Time in which this process stood still is added to the
 * timeout, and what still looks bad after that is no verdict (`unjudged`), like the want of a free
 * port or file here. Only a pass and a refused connection are believed after a stall.
 */
import https from 'node:https'
import net, { type LookupFunction, type Socket } from 'node:net'
import type { Clock } from '../../platform/clock/clock.ts'
import { createStalls } from '../../platform/clock/stalls.ts'
import { createPlaces, type Lane, type Places } from './places.ts'
import { codeOf } from '../../platform/errors/thrown.ts'
import { http } from '../../platform/http/node-http.ts'

export interface Target {
  readonly address: string
  readonly port: number
  readonly scheme: 'http' | 'https' | 'tcp'
  readonly healthEndpoint: string | null
}

/**
 * `ailing`: answered that it has too much to do. `refused`: certainly nobody. `timeout`, `failed`:
 * perhaps a hiccup. `unjudged`: it was us; it says nothing of the instance.
 */
export type FindingKind = 'passed' | 'ailing' | 'refused' | 'timeout' | 'failed' | 'unjudged'

export interface Finding {
  readonly kind: FindingKind
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
  probe(target: Target, lane?: Lane): Promise<Finding> | null
  /** Milliseconds until there may be a place. */
  retryAfterMs(lane: Lane): number
  /** Called whenever a place has become free. */
  onFree(listener: () => void): void
  /** Probes that wait for an answer. */
  readonly underWay: number
  /** Ends what is under way. */
  stop(): void
}

interface ProberOptions {
  readonly clock: Clock
  readonly rules: ConnectRules
  readonly places?: Places
}

const probeTimeoutMs = 5_000
/** A host that is there answers a connect in milliseconds; this finds one that is not. */
const connectTimeoutMs = 1_000
/** A stall lengthens a timeout so often; a process that stalls on and on cannot judge. */
const extensionsMax = 2
/** Enough for any health report; the rest of a larger body is not read. */
const bodyMaxBytes = 64 * 1024
const headersMaxBytes = 16 * 1024

type Verdict = Omit<Finding, 'latencyMs'>

export function createProber(options: ProberOptions): Prober {
  const { clock, rules } = options
  const places = options.places ?? createPlaces({ clock })
  const stalls = createStalls(clock)
  const sockets = new Set<Socket>()
  let stopped = false
  let onFree = (): void => {}

  function look(target: Target): Promise<Verdict> {
    const literal = net.isIP(target.address) !== 0
    const why = literal ? rules.refusal(target.address, target.port) : null
    if (why !== null) return Promise.resolve(refusedAddress(target, `${target.address} ${why}`))
    return new Promise((resolve) => {
      let socket: Socket | undefined
      let cancelTimeout = (): void => {}
      const stall = stalls.watch()
      const settle = (verdict: Verdict): void => {
        cancelTimeout()
        stall.end()
        resolve(stopped ? unjudged : verdict)
      }
      /** A service may well cut a connection on which we were silent for seconds. */
      const settleBroken = (verdict: Verdict): void => {
        const certain = verdict.reason === connectionRefused
        settle(certain || stall.lostMs() === 0 ? verdict : unjudged)
      }
      const limit = (timeoutMs: number, doing: string): void => {
        let lostBeforeMs = stall.lostMs()
        let extensions = 0
        const giveUp = (): void => {
          const lostMs = stall.lostMs() - lostBeforeMs
          if (lostMs > 0 && extensions < extensionsMax) {
            lostBeforeMs += lostMs
            extensions += 1
            cancelTimeout = clock.after(Math.min(lostMs, timeoutMs), giveUp)
            return
          }
          settle(lostMs > 0 ? unjudged : timedOut(target, timeoutMs, doing))
          socket?.destroy()
        }
        cancelTimeout = clock.after(timeoutMs, giveUp)
      }
      const follow = (opened: Socket, whenConnected: () => void): void => {
        socket = opened
        // A request gets its socket a turn later: in between it is in no list that `stop` could end.
        if (stopped) {
          opened.destroy()
          return
        }
        sockets.add(opened)
        opened.once('close', () => {
          cancelTimeout()
          sockets.delete(opened)
        })
        limit(connectTimeoutMs, 'connect')
        opened.once('connect', () => {
          cancelTimeout()
          limit(probeTimeoutMs, 'answer')
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
        opened.on('error', (error) => settleBroken(verdictOfError(target, error)))
        opened.once('close', () => settleBroken(closedEarly(target)))
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
      request.on('error', (error) => {
        if (found) settle(found)
        else settleBroken(verdictOfError(target, error))
      })
      request.once('close', () => {
        if (found) settle(found)
        else settleBroken(closedEarly(target))
      })
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
    probe(target, lane = 'newcomer') {
      if (stopped || !places.take(lane)) return null
      const startedMs = clock.monotonicMs()
      return look(target).then((verdict) => {
        places.giveBack(lane)
        onFree()
        return { ...verdict, latencyMs: clock.monotonicMs() - startedMs }
      })
    },
    retryAfterMs: (lane) => places.retryAfterMs(lane),
    onFree(listener) {
      onFree = listener
    },
    get underWay() {
      return places.taken
    },
    stop() {
      stopped = true
      for (const socket of sockets) socket.destroy()
    },
  }
}

/** It was us, and the next look will tell. */
const unjudged: Verdict = { kind: 'unjudged', reason: null, mend: null }

const connectionRefused = 'connection refused'

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
    return { kind: 'timeout', reason, mend }
  }
  const reason = `no answer within ${seconds} s`
  const mend = `${place} took the connection and did not answer ${target.healthEndpoint ?? ''} within ${seconds} s: is it still starting, or waiting for something?`
  return { kind: 'timeout', reason, mend }
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
  const code = codeOf(error)
  const place = placeOf(target)
  if (error.name === 'AddressRefused') return refusedAddress(target, error.message)
  switch (code) {
    case 'ECONNREFUSED':
      return {
        kind: 'refused',
        reason: connectionRefused,
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
    case 'EADDRNOTAVAIL':
    case 'EMFILE':
    case 'ENFILE':
    case 'ENOBUFS':
    case 'ENOMEM':
      return unjudged
    case 'ETIMEDOUT':
      return timedOut(target, connectTimeoutMs, 'connect')
    case undefined:
    default:
      return notUnderstood(target, code)
  }
}

function notUnderstood(target: Target, code: string | undefined): Verdict {
  const other = target.scheme === 'https' ? 'http' : 'https'
  return {
    kind: 'failed',
    reason: `not understood as ${target.scheme}${code === undefined ? '' : ` (${code})`}`,
    mend: `What answers on ${placeOf(target)} does not speak ${target.scheme}: is the scheme ${other} or tcp, or does another program use the port?`,
  }
}
