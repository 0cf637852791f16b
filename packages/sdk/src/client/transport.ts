/**
 * One HTTP exchange with the house: a deadline over all of it, a bound on the answer, no redirects
 * (a redirected request would carry the token elsewhere), and failures in two words.
 */
import type { Clock } from '../platform/clock.ts'
import { HausUnreachableError } from './errors.ts'

export interface Exchange {
  readonly operation: string
  readonly url: string
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

export interface Received {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

/** All credentials of a service, at 64 KiB each, fit; whatever is larger is not an answer of a house. */
const answerLimitBytes = 16 * 1024 * 1024

/**
 * @throws HausUnreachableError
 * @throws what `signal` was aborted with
 */
export async function exchange(clock: Clock, request: Exchange): Promise<Received> {
  const { operation } = request
  return withDeadline(clock, request, async (signal) => {
    const response = await open(request, signal)
    return {
      status: response.status,
      headers: response.headers,
      text: await readBounded(response, operation),
    }
  })
}

/** A stream has no deadline but `signal` once its head is there; a refusal is read like any answer. */
export async function openStream(
  clock: Clock,
  request: Exchange & { readonly signal: AbortSignal },
): Promise<Response | Received> {
  const { operation } = request
  let goesOn = false
  return withDeadline(
    clock,
    request,
    async (signal) => {
      const response = await open(request, signal)
      const { status, headers } = response
      goesOn = status === 200
      return goesOn ? response : { status, headers, text: await readBounded(response, operation) }
    },
    () => goesOn,
  )
}

async function withDeadline<T>(
  clock: Clock,
  { operation, timeoutMs, signal }: Exchange,
  task: (signal: AbortSignal) => Promise<T>,
  goesOn: () => boolean = () => false,
): Promise<T> {
  signal?.throwIfAborted()
  const controller = new AbortController()
  let late = false
  const cancel = clock.after(timeoutMs, () => {
    late = true
    controller.abort()
  })
  const abort = (): void => controller.abort()
  signal?.addEventListener('abort', abort, { once: true })
  try {
    return await task(controller.signal)
  } catch (error) {
    if (late) {
      throw new HausUnreachableError('timeout', operation, `No answer within ${timeoutMs} ms.`)
    }
    signal?.throwIfAborted()
    throw error
  } finally {
    cancel()
    // A stream that was opened still has to end with the caller's signal.
    if (!goesOn()) signal?.removeEventListener('abort', abort)
  }
}

async function open(request: Exchange, signal: AbortSignal): Promise<Response> {
  const { url, method, headers, body, operation } = request
  try {
    return await fetch(url, {
      method,
      headers,
      signal,
      redirect: 'manual',
      ...(body !== undefined && { body }),
    })
  } catch (error) {
    throw broken(operation, url, error)
  }
}

async function readBounded(response: Response, operation: string): Promise<string> {
  if (response.body === null) return ''
  const parts: Uint8Array[] = []
  let size = 0
  try {
    for await (const part of response.body) {
      size += part.length
      if (size > answerLimitBytes) break
      parts.push(part)
    }
  } catch (error) {
    throw broken(operation, response.url, error)
  }
  if (size > answerLimitBytes) {
    throw new HausUnreachableError(
      'not_haus',
      operation,
      `The answer is larger than ${answerLimitBytes} bytes.`,
    )
  }
  return Buffer.concat(parts).toString('utf8')
}

/** `fetch failed` says nothing; the reason is in its cause. */
function broken(operation: string, url: string, error: unknown): HausUnreachableError {
  const cause: unknown = error instanceof Error ? (error.cause ?? error) : error
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : undefined
  const { host } = new URL(url)
  const why =
    code === 'ECONNREFUSED'
      ? 'nothing listens there'
      : (code ?? (cause instanceof Error ? cause.message : 'the connection broke'))
  return new HausUnreachableError(
    'unreachable',
    operation,
    `Haus at ${host} cannot be reached: ${why}.`,
    cause,
  )
}
