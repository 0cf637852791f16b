/**
 * One request on its way: understood, admitted, sent to an instance, answered.
 *
 * It is at the same time what the connection reads the request from and tells the answer to, and
 * what Node's response belongs to, so that a request costs one object and no closures. It never
 * waits for anything but the client, the instance and the check of a new token.
 *
 * Longer than 600 lines because one object holds all that happens to a request; split up, its parts
 * would have to hold each other.
 */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { HausError } from '@haus/contract/errors'
import { revoked } from '../../../platform/crypto/access-token-verifier.ts'
import { problemOf } from '../../../platform/http/problem.ts'
import type { RoutedPrefix } from '../messages.ts'
import { bearerToken, type GatewayCaller } from './authentication.ts'
import { pickInstance } from './balancer.ts'
import { statusClass } from './counts.ts'
import type { GatewayResponse } from './gateway-response.ts'
import type { Placed } from './in-flight.ts'
import type { Instance } from './instance.ts'
import type { Plane } from './plane.ts'
import {
  bodyTooLarge,
  headFault,
  noRoute,
  pathRefused,
  retryAfterSeconds,
  unavailable,
} from './refusals.ts'
import { readRequestHead, type RequestHead } from './request-head.ts'
import { targetFault } from './request-path.ts'
import { activeMax, waitingMax, type Service } from './service.ts'
import type { AnswerHead } from './upstream/answer-head.ts'
import type { ConnectionStack } from './upstream/connection-stack.ts'
import {
  InvalidHead,
  joinedMaxBytes,
  type Attempt,
  type UpstreamConnection,
} from './upstream/connection.ts'
import {
  BodyTooLarge,
  codeOfCut,
  ConnectTimedOut,
  Ended,
  isReset,
  reasonOf,
  speaksOfInstance,
} from './upstream/failed-attempt.ts'
import { Upload } from './upstream/upload.ts'
import { codeOf } from '../../../platform/errors/thrown.ts'

const methods: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
])
/** A body up to this size is kept until it is whole: one write, and it can be sent a second time. */
const keptBodyMaxBytes = 64 * 1024
/** How long, and how much, is read of a body that is no longer wanted. */
const droppingMs = 1_000
const droppedMaxBytes = 4 * 1024 * 1024
/** An unread body up to this size is read and dropped to keep the connection. */
const discardMaxBytes = 64 * 1024
/** A host that is there takes a connection in milliseconds. */
const connectTimeoutMs = 2_000
const answerHeadTimeoutMs = 15_000
const idleTimeoutMs = 60_000
const streamIdleTimeoutMs = 300_000
const waitMaxMs = 1_000
/** A body that takes longer than a minute has to come at this pace at least. */
const uploadFreeMs = 60_000
const uploadMinBytesPerMs = 64
const traceparentPattern = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/
/** Nginx’s number for a client that went away; it is in the log only. */
const clientGoneStatus = 499
/** Answers of an instance that say that it is not the one that failed the request. */
const gatewayFailure: ReadonlySet<number> = new Set([502, 503, 504])

export class Exchange implements Attempt, Placed {
  /** Among those under way. */
  place = -1
  // Read by the connection.
  method = 'GET'
  path = '/'
  host: string | null = null
  headers: string[] = []
  body: Buffer | Upload | null = null

  readonly plane: Plane
  readonly #request: IncomingMessage
  readonly #response: GatewayResponse
  readonly #isRelay: boolean
  readonly #startedMs: number
  #requestId = ''
  #traceparent = ''
  #head: RequestHead | null = null
  #hostName = ''
  #targetPath = '/'
  #route: RoutedPrefix | null = null
  #service: Service | null = null
  #caller: string | null = null
  #token: GatewayCaller | null = null

  #instance: Instance | null = null
  /** Of the last attempt, for the log. */
  #instanceId: string | null = null
  #connection: UpstreamConnection | null = null
  #admitted = false
  #waiting = false
  /** -1: it has not had to. */
  #waitingSinceMs = -1
  #retrying = false
  #attempts = 0
  #tried: Instance | null = null
  /** This attempt decides whether the breaker closes. */
  #tries = false
  /** This attempt has begun to be written. */
  #written = false
  #headTaken = false
  #done = false
  #stream = false
  #paused = false
  #drainHeard = false
  #status = 0
  #code: string | null = null
  #contentLength = -1
  #held: string | Buffer | null = null
  #sentAny = false
  #attemptMs = 0
  #touchedMs = 0
  #firstByteMs = -1
  #requestBytes = 0
  #answerBytes = 0
  #bodyWhole = true
  /** The client was told to send its body. */
  #continued = false

  constructor(plane: Plane, request: IncomingMessage, response: GatewayResponse, isRelay: boolean) {
    this.plane = plane
    this.#request = request
    this.#response = response
    this.#isRelay = isRelay
    this.#startedMs = plane.clock.monotonicMs()
    this.#touchedMs = this.#startedMs
    response.exchange = this
  }

  start(): void {
    try {
      this.#begin()
    } catch (error) {
      this.#refuse(error)
    }
  }

  #begin(): void {
    const { plane } = this
    plane.catchUp()
    const request = this.#request
    const target = request.url ?? ''
    const queryAt = target.indexOf('?')
    const path = queryAt === -1 ? target : target.slice(0, queryAt)
    const head = readRequestHead(request.rawHeaders, request.httpVersion)
    this.#head = head
    this.#bodyWhole = !head.hasBody
    this.#targetPath = path
    this.#requestId = plane.requestIdOf(head.requestId ?? undefined)
    this.#traceparent =
      head.traceparent !== null && traceparentPattern.test(head.traceparent)
        ? head.traceparent
        : newTrace(plane.traceHex())
    if (head.fault !== null) throw headFault(head)
    const method = request.method ?? ''
    if (!methods.has(method)) {
      throw new HausError('method_not_allowed', 'The gateway does not pass this method on.')
    }
    this.method = method
    if (head.upgrade) {
      throw new HausError(
        'upgrade_refused',
        'The gateway does not change protocols yet; send the request without Upgrade.',
      )
    }
    const fault = targetFault(target, queryAt)
    if (fault !== null) throw pathRefused(fault)
    this.#toService(head, path, queryAt === -1 ? '' : target.slice(queryAt))
  }

  /** Where it goes, as far as that can be told before the caller is known. */
  #toService(head: RequestHead, path: string, query: string): void {
    const { plane } = this
    if (this.#isRelay) {
      this.#caller = head.relayCaller === '' ? null : head.relayCaller
      this.#byPath(path, query)
      return
    }
    const host = head.host === null ? null : plane.hostOf(head.host)
    if (head.host !== null && host === null) {
      throw new HausError('invalid_request', 'header.host is not a host name.', {
        fields: [{ field: 'header.host', detail: 'must be a host name, with or without port' }],
      })
    }
    const label = host?.label ?? null
    this.#hostName = host?.name ?? ''
    const route = plane.house.routes.find(this.#hostName, label === null, path, this.method)
    if (route !== null) {
      this.#published(route, path, query)
      return
    }
    if (host !== null && label === null && !host.own) {
      throw new HausError(
        'foreign_host',
        'No route is published for this host, and the house has another name.',
        { fields: [{ field: 'header.host', detail: 'must be that of the house or of a route' }] },
      )
    }
    const token =
      head.hausToken ?? (head.authorization === null ? null : bearerToken(head.authorization))
    const caller = plane.authentication.callerOf(token)
    if (caller instanceof Promise) {
      caller
        .then((known) => this.#called(known, label, path, query))
        .catch((error: unknown) => this.#refuse(error))
    } else this.#called(caller, label, path, query)
  }

  #called(caller: GatewayCaller, label: string | null, path: string, query: string): void {
    if (this.#done) return
    this.#caller = caller.service
    this.#token = caller
    if (label === null) {
      this.#byPath(path, query)
      return
    }
    const service = this.plane.house.service(label)
    if (service === undefined) throw noRoute(`no service is called "${label}"`)
    this.#toUpstream(service, path + query, null)
  }

  #byPath(path: string, query: string): void {
    const end = path.indexOf('/', 1)
    const name = end === -1 ? path.slice(1) : path.slice(1, end)
    const service = this.plane.house.service(name)
    if (service === undefined) {
      throw noRoute(name === '' ? 'the path names no service' : `no service is called "${name}"`)
    }
    const rest = end === -1 ? '/' : path.slice(end)
    this.#toUpstream(service, rest + query, this.#isRelay ? null : `/${name}`)
  }

  #published(route: RoutedPrefix, path: string, query: string): void {
    this.#route = route
    const service = this.plane.house.service(route.service)
    if (service === undefined) {
      throw unavailable(`"${route.service}" has not registered yet`, 'none')
    }
    const strip = route.stripPrefix && route.pathPrefix !== '/'
    const rest = strip ? path.slice(route.pathPrefix.length) : path
    this.#toUpstream(service, (rest === '' ? '/' : rest) + query, strip ? route.pathPrefix : null)
  }

  #toUpstream(service: Service, target: string, prefix: string | null): void {
    const head = this.#head
    if (head === null) return
    this.#service = service
    const caller = this.#caller
    if (caller !== null && service.callers !== null && !service.callers.has(caller)) {
      throw new HausError(
        'caller_not_allowed',
        `"${service.name}" names its callers, and "${caller}" is none of them: ask an operator to add it.`,
      )
    }
    this.path = target
    this.#writeHeaders(head, prefix)
    const limit = this.#route?.bodyMaxBytes ?? this.plane.bodyMaxBytes
    if (head.contentLength > limit) throw bodyTooLarge(limit)
    if (!head.hasBody) this.#admit()
    else this.#readBody(head, limit)
  }

  #writeHeaders(head: RequestHead, prefix: string | null): void {
    const { plane } = this
    const { fields } = head
    const { authorization, host } = head
    // Without a Host of its own the request gets that of the instance.
    if (host !== null && !this.#isRelay) {
      this.host = host
      fields.push('x-forwarded-host', host)
    }
    // One of ours ends here; one of the application's own goes on.
    if (authorization !== null && !this.#isRelay) {
      const used = head.hausToken === null && this.#route === null
      if (!used && !plane.authentication.isOurs(authorization)) {
        fields.push('authorization', authorization)
      }
    } else if (authorization !== null && !plane.authentication.isOurs(authorization)) {
      fields.push('authorization', authorization)
    }
    fields.push(
      'x-forwarded-for',
      addressOf(this.#request),
      'x-forwarded-proto',
      plane.scheme,
      'x-request-id',
      this.#requestId,
      'traceparent',
      this.#traceparent,
      'via',
      head.via === null ? '1.1 haus' : `${head.via}, 1.1 haus`,
    )
    if (prefix !== null) fields.push('x-forwarded-prefix', prefix)
    if (this.#caller !== null) fields.push('haus-caller', this.#caller)
    this.headers = fields
  }

  #readBody(head: RequestHead, limit: number): void {
    if (head.expectsContinue) {
      this.#continued = true
      this.#response.writeContinue()
    }
    if (!head.chunked && head.contentLength <= keptBodyMaxBytes) {
      this.#keepBody(head.contentLength)
      return
    }
    const length = head.chunked ? null : head.contentLength
    this.body = new Upload(this.#request, length, limit, (bytes, whole) => {
      this.#requestBytes += bytes
      this.#touchedMs = this.plane.clock.monotonicMs()
      if (whole) this.#bodyWhole = true
    })
    this.#admit()
  }

  #keepBody(length: number): void {
    const parts: Buffer[] = []
    this.plane.exchanges.add(this)
    this.#request.on('data', (part: Buffer) => {
      parts.push(part)
      this.#requestBytes += part.length
      this.#touchedMs = this.plane.clock.monotonicMs()
    })
    this.#request.on('end', () => {
      if (this.#done || this.#requestBytes !== length) return
      this.#bodyWhole = true
      const [only] = parts
      this.body = parts.length === 1 && only ? only : Buffer.concat(parts)
      this.#admit()
    })
  }

  #admit(): void {
    const service = this.#service
    if (service === null) return
    this.plane.exchanges.add(this)
    if (service.active >= activeMax) this.#wait(service)
    else this.proceed()
  }

  #wait(service: Service): void {
    if (service.waiting.size >= waitingMax) {
      this.#refuse(unavailable(`"${service.name}" has as much to do as it may have`, 'limit'))
      return
    }
    this.#waiting = true
    // Who was given a place and found it taken waits on, and not for another second.
    if (this.#waitingSinceMs === -1) this.#waitingSinceMs = this.plane.clock.monotonicMs()
    service.waiting.add(this)
  }

  /** A place was given up for this request; it goes on in the next turn. */
  takeOver(): void {
    this.#waiting = false
    this.#admitted = true
  }

  /** There is a place. */
  proceed(): void {
    const service = this.#service
    if (service === null || this.#done) return
    this.#waiting = false
    if (!this.#admitted) {
      this.#admitted = true
      service.active += 1
    }
    try {
      this.#attempt(service)
    } catch (error) {
      this.#refuse(error)
    }
  }

  #attempt(service: Service): void {
    const { plane } = this
    const nowMs = plane.clock.monotonicMs()
    const picked = pickInstance(service, this.#tried, nowMs, plane.unit)
    if (picked === 'none') {
      throw unavailable(`"${service.name}" has no instance that can serve`, 'none')
    }
    if (picked === 'circuit_open') {
      throw unavailable(
        `every instance of "${service.name}" has failed too often and is left alone for a while`,
        'circuit_open',
        retryAfterSeconds(service, nowMs),
      )
    }
    if (picked === 'full') {
      this.#admitted = false
      service.active -= 1
      this.#wait(service)
      return
    }
    this.#waitingSinceMs = -1
    this.#instance = picked
    this.#instanceId = picked.id
    picked.inFlight += 1
    this.#tries = picked.breaker.started()
    this.#attempts += 1
    this.#written = false
    this.#attemptMs = nowMs
    this.#touchedMs = nowMs
    picked.connections.dispatch(this)
  }

  // What the connection asks and tells.

  awaits(connections: ConnectionStack): boolean {
    return this.#instance?.connections === connections && this.#connection === null
  }

  onConnecting(connection: UpstreamConnection): void {
    this.#connection = connection
  }

  onWriting(connection: UpstreamConnection): void {
    this.#connection = connection
    this.#written = true
  }

  onAnswerHead(answer: AnswerHead): void {
    const { status, fields } = answer
    // Interim answers are between the instance and us.
    if (status < 200) return
    const nowMs = this.plane.clock.monotonicMs()
    this.#touchedMs = nowMs
    this.#firstByteMs = nowMs - this.#startedMs
    const instance = this.#instance
    if (instance === null) return
    this.#judge(instance, status, nowMs)
    this.#contentLength = answer.contentLength
    this.#stream = answer.isEventStream
    fields.push('x-request-id', this.#requestId)
    // An answer before the end of the body: what follows on that connection is the rest of it.
    if (!this.#bodyWhole || this.plane.draining) fields.push('connection', 'close')
    this.#response.writeHead(status, fields)
    this.#status = status
    this.#headTaken = true
    // A small answer comes whole, nearly always, and goes out with its head in one write: the sweep
    // looks after the others. Of a large one, or of a stream, the head goes at once.
    if (answer.contentLength === -1 || answer.contentLength > joinedMaxBytes) {
      queueMicrotask(() => this.#flushHead())
    }
  }

  onAnswerData(bytes: Buffer): void {
    this.#answerBytes += bytes.length
    // The whole of a small answer goes out with its head, in one write. As text Node joins it with
    // the head; as bytes it would be a vector of two, which costs a fifth of the processor time.
    if (!this.#sentAny && bytes.length === this.#contentLength) {
      this.#held = bytes.length <= joinedMaxBytes ? bytes.toString('latin1') : Buffer.from(bytes)
      return
    }
    this.#touchedMs = this.plane.clock.monotonicMs()
    this.#sentAny = true
    if (this.#response.write(Buffer.from(bytes))) return
    this.#paused = true
    this.#connection?.pause()
    if (this.#drainHeard) return
    this.#drainHeard = true
    this.#response.on('drain', onDrain)
  }

  /** The client has taken what was written. */
  flowAgain(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#touchedMs = this.plane.clock.monotonicMs()
    this.#connection?.resume()
  }

  /** The head goes out although nothing of the body is there yet. */
  #flushHead(): void {
    if (this.#done || this.#sentAny || this.#held !== null) return
    this.#sentAny = true
    this.#response.flushHeaders()
  }

  onAnswerEnd(): void {
    if (this.#done) return
    this.#leaveInstance()
    const held = this.#held
    this.#held = null
    // First, because it lets go of the body, whose rest may have to be read yet.
    this.#finish()
    this.#end(held, this.#contentLength !== -1)
  }

  /** `mayLinger`: the connection ends with this answer, and its length is known before that. */
  #end(last: string | Buffer | null, mayLinger: boolean): void {
    const response = this.#response
    const waits = this.#head?.expectsContinue === true && !this.#continued
    if (!this.#bodyWhole && mayLinger && !waits) {
      if (last === null) response.flushHeaders()
      else response.write(last, 'latin1')
      endAfterReading(this.#request, response, this.plane)
    } else if (last === null) response.end()
    else response.end(last, 'latin1')
  }

  /** Ends the attempt from this side. */
  #abort(error: Error): void {
    this.onAttemptFailed(error, this.#headTaken)
  }

  onAttemptFailed(error: Error, answerBegan: boolean): void {
    if (this.#done) return
    const instance = this.#instance
    this.#leaveInstance()
    if (error instanceof Ended && error.why === 'client') {
      if (instance !== null) this.#abandon(instance)
      this.#status = clientGoneStatus
      this.#finish()
      return
    }
    if (instance === null) return
    if (this.#headTaken) {
      // Half an answer cannot be taken back: a cut connection tells the client that it is not whole.
      if (this.#isFaultOf(error)) this.#blame(instance)
      this.#code = codeOfCut(error)
      this.#cut()
      this.#finish()
      return
    }
    this.#failed(instance, error, answerBegan)
  }

  /** Of an answer that was cut off: whether the instance is to blame. Of a slow reader it is not. */
  #isFaultOf(error: Error): boolean {
    if (error instanceof Ended) return error.why === 'idle' && !this.#paused && !this.#stream
    return speaksOfInstance(error)
  }

  #failed(instance: Instance, error: Error, answerBegan: boolean): void {
    const { plane } = this
    if (error instanceof Ended) {
      if (error.why === 'body') {
        this.#abandon(instance)
        this.#refuse(new HausError('request_timeout', 'The body did not arrive in time.'))
        return
      }
      if (error.why === 'token') {
        this.#abandon(instance)
        this.#refuse(revoked())
        return
      }
      this.#blame(instance)
      this.#refuse(
        new HausError(
          'upstream_timeout',
          `"${this.#service?.name ?? ''}" did not answer within ${answerHeadTimeoutMs / 1_000} s.`,
        ),
      )
      return
    }
    if (error instanceof BodyTooLarge) {
      this.#abandon(instance)
      this.#refuse(bodyTooLarge(error.limit))
      return
    }
    if (error instanceof InvalidHead) {
      this.#abandon(instance)
      this.#refuse(new HausError('invalid_request', 'The head holds what may not be passed on.'))
      return
    }
    const code = codeOf(error)
    const reset = this.#written && !answerBegan && isReset(code)
    // Who answers early and closes breaks off what is still being sent to him: that is no fault.
    const early = reset && this.body instanceof Upload && !this.#bodyWhole
    if (!speaksOfInstance(error) || early) {
      this.#abandon(instance)
    } else {
      this.#blame(instance)
      if (!this.#written || reset) {
        plane.report(instance, reasonOf(code, this.#written))
      }
    }
    if (this.#tryAnother(instance, reset)) return
    this.#refuse(
      new HausError(
        'upstream_failed',
        this.#written
          ? `"${this.#service?.name ?? ''}" broke the connection off or did not speak HTTP; whether it did what was asked is not known.`
          : `"${this.#service?.name ?? ''}" could not be reached.`,
      ),
    )
  }

  /** Once, on another instance, and only where the request cannot have been run or may be run again. */
  #tryAnother(instance: Instance, reset: boolean): boolean {
    const service = this.#service
    if (service === null || this.#attempts > 1) return false
    if (this.#written && !(reset && this.#mayRunAgain())) return false
    if (this.body instanceof Upload && !this.body.untouched) return false
    const nowMs = this.plane.clock.monotonicMs()
    if (service.bestTier(nowMs, instance) === null) return false
    if (!service.mayRetry(instance, nowMs)) return false
    this.#tried = instance
    this.#retrying = true
    service.retrying += 1
    service.counts.retries += 1
    this.proceed()
    return true
  }

  #mayRunAgain(): boolean {
    const { method } = this
    if (method === 'GET' || method === 'HEAD' || method === 'OPTIONS') return true
    return (this.#head?.idempotencyKey ?? false) && (this.#route?.retryIdempotencyKey ?? false)
  }

  #judge(instance: Instance, status: number, nowMs: number): void {
    instance.observe(nowMs - this.#attemptMs, nowMs)
    if (gatewayFailure.has(status)) {
      this.#blame(instance)
      return
    }
    const { breaker } = instance
    const wasOpen = breaker.state !== 'closed'
    breaker.succeeded(nowMs, this.#tries)
    if (wasOpen && breaker.state === 'closed') instance.startSlowly(nowMs)
  }

  #blame(instance: Instance): void {
    const service = this.#service
    if (service === null) return
    const { clock, unit } = this.plane
    if (instance.breaker.failed(clock.monotonicMs(), unit(), service.mayEject(), this.#tries)) {
      service.counts.ejections += 1
    }
  }

  /** It ended without telling anything of the instance. */
  #abandon(instance: Instance): void {
    if (this.#tries && !this.#headTaken) instance.breaker.abandoned()
  }

  /** After a whole answer its connection is kept; otherwise it ends here. */
  #leaveInstance(): void {
    const instance = this.#instance
    const connection = this.#connection
    this.#instance = null
    this.#connection = null
    if (instance === null) return
    instance.inFlight -= 1
    if (connection !== null) {
      instance.connections.giveBack(connection, this.plane.clock.monotonicMs())
    }
  }

  /** The client is gone; for an answer that is already whole this is its ordinary end. */
  onClosed(): void {
    if (this.#done) return
    if (this.#waiting) this.#service?.waiting.delete(this)
    this.#abort(new Ended('client'))
  }

  /** Every half a second: has it waited too long for somebody? */
  sweep(nowMs: number): void {
    const idleMs = nowMs - this.#touchedMs
    if (this.#waiting) {
      if (nowMs - this.#waitingSinceMs <= waitMaxMs) return
      this.#service?.waiting.delete(this)
      this.#waiting = false
      this.#refuse(
        unavailable(`"${this.#service?.name ?? ''}" had no place within a second`, 'limit'),
      )
      return
    }
    if (!this.#bodyWhole && this.#uploadTooSlow(nowMs, idleMs)) {
      // It is the instance that does not take it.
      const blocked = this.body instanceof Upload && this.body.blocked
      if (this.#instance !== null) this.#abort(new Ended(blocked ? 'head' : 'body'))
      else this.#refuse(new HausError('request_timeout', 'The body did not arrive in time.'))
      return
    }
    if (this.#instance === null) return
    if (this.#token !== null && this.#hasEnded(this.#token, nowMs)) {
      this.#abort(new Ended('token'))
      return
    }
    if (!this.#written) {
      if (idleMs > connectTimeoutMs) this.#abort(new ConnectTimedOut())
      return
    }
    if (!this.#headTaken) {
      if (this.#bodyWhole && idleMs > answerHeadTimeoutMs) this.#abort(new Ended('head'))
      return
    }
    this.#flushHead()
    if (idleMs > (this.#stream || this.#paused ? streamIdleTimeoutMs : idleTimeoutMs)) {
      this.#abort(new Ended('idle'))
    }
  }

  /** What is under way ends with the key behind it, and a stream with its token. */
  #hasEnded(token: GatewayCaller, nowMs: number): boolean {
    if (!this.plane.authentication.lives(token)) return true
    return this.#stream && nowMs >= token.deadlineMs
  }

  #uploadTooSlow(nowMs: number, idleMs: number): boolean {
    if (idleMs > idleTimeoutMs) return true
    const overMs = nowMs - this.#startedMs - uploadFreeMs
    return overMs > 0 && this.#requestBytes < overMs * uploadMinBytesPerMs
  }

  #refuse(thrown: unknown): void {
    if (this.#done) return
    const error =
      thrown instanceof HausError
        ? thrown
        : new HausError('internal_error', 'The gateway made a mistake with this request.', {
            cause: thrown,
          })
    const refusal = problemOf(error, {
      requestId: this.#requestId,
      instance: error.code === 'path_refused' ? null : this.#targetPath,
    })
    this.#status = refusal.status
    this.#code = error.code
    const response = this.#response
    if (!response.headersSent && !response.destroyed) {
      const fields = [
        'content-type',
        refusal.contentType,
        'content-length',
        String(refusal.body.length),
        'cache-control',
        'no-store',
        'x-content-type-options',
        'nosniff',
        'haus-source',
        'gateway',
        'x-request-id',
        this.#requestId,
      ]
      for (const name in refusal.headers) fields.push(name, refusal.headers[name] ?? '')
      const closes = this.#mustClose(error)
      if (closes) fields.push('connection', 'close')
      if (error.code === 'method_not_allowed') fields.push('allow', [...methods].join(', '))
      response.writeHead(refusal.status, fields)
      const body = this.#request.method === 'HEAD' ? null : refusal.body
      this.#finish()
      this.#end(body, closes)
      return
    }
    this.#cut()
    this.#finish()
  }

  /** Also when it is the turn of another answer on this connection: then as soon as it is this one's. */
  #cut(): void {
    const response = this.#response
    if (response.socket === null) response.once('socket', (socket: Socket) => socket.destroy())
    response.destroy()
  }

  /** A head that can be read in two ways may be the first half of a smuggled one. */
  #mustClose(error: HausError): boolean {
    const head = this.#head
    if (this.plane.draining || head === null || head.fault !== null || head.upgrade) return true
    if (error.code === 'method_not_allowed' || error.code === 'request_timeout') return true
    if (!head.hasBody || this.#request.complete) return false
    // After a refusal a client that waits for 100 may or may not send its body.
    return head.expectsContinue || head.chunked || head.contentLength > discardMaxBytes
  }

  #finish(): void {
    this.#done = true
    const { plane } = this
    const nowMs = plane.clock.monotonicMs()
    const durationMs = nowMs - this.#startedMs
    plane.exchanges.delete(this)
    if (this.body instanceof Upload) this.body.stop()
    const service = this.#service
    const byGateway = !this.#headTaken
    if (service === null) {
      const place = statusClass(this.#status)
      plane.refused[place] = (plane.refused[place] ?? 0) + 1
    } else {
      const { counts } = service
      counts.count(this.#status, byGateway, durationMs)
      counts.requestBytes += this.#requestBytes
      counts.answerBytes += this.#answerBytes
      if (this.#retrying) service.retrying -= 1
      if (this.#admitted) {
        this.#admitted = false
        service.release()
      }
    }
    if (plane.log.on) this.#log(byGateway, durationMs)
  }

  #log(byGateway: boolean, durationMs: number): void {
    const { plane } = this
    plane.log.add(
      {
        method: this.#request.method ?? '',
        path: this.#targetPath,
        host: this.#hostName,
        route: this.#route?.id ?? null,
        service: this.#service?.name ?? null,
        instance: this.#instanceId,
        caller: this.#caller,
        status: this.#status,
        source: byGateway ? 'gateway' : 'upstream',
        code: this.#code,
        requestBytes: this.#requestBytes,
        answerBytes: this.#answerBytes,
        durationMs,
        firstByteMs: this.#firstByteMs,
        retries: Math.max(0, this.#attempts - 1),
        requestId: this.#requestId,
        traceId: this.#traceparent.slice(3, 35),
      },
      plane.clock.now().getTime(),
    )
  }
}

/**
 * The client is still sending a body that nobody wants. Closed with bytes unread, the kernel would
 * answer with a reset, and that takes the answer away before the client has read it: so what comes
 * is read and dropped for a moment, and then the connection ends.
 */
function endAfterReading(
  request: IncomingMessage,
  response: GatewayResponse,
  { clock }: Plane,
): void {
  let left = droppedMaxBytes
  const end = (): void => {
    cancel()
    response.end()
  }
  const cancel = clock.after(droppingMs, end)
  request.on('data', (part: Buffer) => {
    left -= part.length
    if (left < 0) end()
  })
  request.on('end', end)
  request.on('close', end)
  request.resume()
}

function onDrain(this: GatewayResponse): void {
  this.exchange?.flowAgain()
}

function newTrace(hex: string): string {
  return `00-${hex.slice(0, 32)}-${hex.slice(32)}-00`
}

/** The peer's address; IPv4-mapped IPv6 shown as IPv4. */
function addressOf({ socket }: IncomingMessage): string {
  const address = socket.remoteAddress ?? ''
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}
