/**
 * A client of the gateway that sends bytes as a test writes them, and tells a whole answer from
 * one that was cut off. It frames strictly: a short success must never look like a success.
 */
import { once } from 'node:events'
import net from 'node:net'

export interface ClientAnswer {
  readonly status: number
  readonly head: string
  /** Names in lower case, values in order. */
  readonly fields: ReadonlyMap<string, readonly string[]>
  readonly body: Buffer
  readonly framing: 'length' | 'chunked' | 'close' | 'none'
  readonly trailers: readonly string[]
  /** Statuses of interim answers before it. */
  readonly interim: readonly number[]
}

/** The connection ended in the middle of an answer, or before one. */
export class CutOff extends Error {
  override readonly name = 'CutOff'
}

/** Longer than every timeout of the gateway that a test waits for. */
const answerDeadlineMs = 25_000

export class RawClient implements AsyncDisposable {
  readonly socket: net.Socket
  readonly #waiting = new Set<() => void>()
  #bytes: Buffer = Buffer.alloc(0)
  #ended = false

  private constructor(socket: net.Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk])
      this.#wake()
    })
    socket.on('error', () => {})
    socket.on('end', () => this.#end())
    socket.on('close', () => this.#end())
  }

  static async connect(port: number): Promise<RawClient> {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
    await once(socket, 'connect')
    return new RawClient(socket)
  }

  write(bytes: string | Buffer): void {
    this.socket.write(bytes)
  }

  /** The other side has said that nothing more will come. */
  get ended(): boolean {
    return this.#ended
  }

  /** Bytes that no answer has taken. */
  get rest(): Buffer {
    return this.#bytes
  }

  /** @throws CutOff when the connection ends without a whole one. */
  async answer({ withoutBody = false } = {}): Promise<ClientAnswer> {
    const interim: number[] = []
    for (;;) {
      const head = await this.#line('\r\n\r\n')
      const status = Number(/^HTTP\/1\.[01] ([1-5]\d\d)/.exec(head)?.[1])
      if (Number.isNaN(status)) throw new Error(`not an answer: ${JSON.stringify(head)}`)
      if (status < 200) {
        interim.push(status)
        continue
      }
      return { status, head, interim, ...(await this.#body(status, head, withoutBody)) }
    }
  }

  /** The next interim answer, such as 100 Continue. */
  async interim(): Promise<number> {
    const head = await this.#line('\r\n\r\n')
    return Number(head.split(' ')[1])
  }

  /** Waits until so many bytes are there, and takes them. */
  async take(length: number): Promise<Buffer> {
    await this.#until(() => this.#bytes.length >= length, `${length} bytes`)
    const bytes = this.#bytes.subarray(0, length)
    this.#bytes = this.#bytes.subarray(length)
    return bytes
  }

  async #body(status: number, head: string, withoutBody: boolean) {
    const fields = new Map<string, string[]>()
    for (const line of head.split('\r\n').slice(1)) {
      const colon = line.indexOf(':')
      const name = line.slice(0, colon).toLowerCase()
      fields.set(name, [...(fields.get(name) ?? []), line.slice(colon + 1).trim()])
    }
    const trailers: string[] = []
    if (withoutBody || status === 204 || status === 304) {
      return { fields, trailers, body: Buffer.alloc(0), framing: 'none' as const }
    }
    if (fields.has('transfer-encoding')) {
      const parts: Buffer[] = []
      for (;;) {
        const size = Number.parseInt(await this.#line('\r\n'), 16)
        if (size === 0) break
        parts.push(await this.take(size))
        await this.#line('\r\n')
      }
      for (let line = await this.#line('\r\n'); line !== ''; line = await this.#line('\r\n')) {
        trailers.push(line)
      }
      return { fields, trailers, body: Buffer.concat(parts), framing: 'chunked' as const }
    }
    const [length] = fields.get('content-length') ?? []
    if (length !== undefined) {
      return { fields, trailers, body: await this.take(Number(length)), framing: 'length' as const }
    }
    await this.#until(() => this.#ended, 'the end of the connection')
    return {
      fields,
      trailers,
      body: await this.take(this.#bytes.length),
      framing: 'close' as const,
    }
  }

  /** Waits until the gateway has closed, and tells how many whole answers came. */
  async answersUntilEnd(): Promise<ClientAnswer[]> {
    const answers: ClientAnswer[] = []
    for (;;) {
      const something = (): boolean => this.#ended || this.#bytes.length > 0
      await this.#until(something, 'an answer or the end')
      if (this.#bytes.length === 0) return answers
      answers.push(await this.answer())
    }
  }

  async #line(end: string): Promise<string> {
    await this.#until(() => this.#bytes.includes(end, 0, 'latin1'), JSON.stringify(end))
    const place = this.#bytes.indexOf(end, 0, 'latin1')
    const line = this.#bytes.toString('latin1', 0, place)
    this.#bytes = this.#bytes.subarray(place + end.length)
    return line
  }

  async #until(there: () => boolean, what: string): Promise<void> {
    const deadline = AbortSignal.timeout(answerDeadlineMs)
    while (!there()) {
      const so = JSON.stringify(this.#bytes.toString('latin1').slice(0, 300))
      if (this.#ended) throw new CutOff(`ended without ${what}; there was ${so}`)
      if (deadline.aborted) throw new Error(`waited ${answerDeadlineMs} ms for ${what}; got ${so}`)
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#waiting.add(resolve)
      deadline.addEventListener('abort', () => resolve(), { once: true })
      await promise
      this.#waiting.delete(resolve)
    }
  }

  #end(): void {
    this.#ended = true
    this.#wake()
  }

  #wake(): void {
    for (const wake of this.#waiting) wake()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy()
  }
}

/** Sends bytes on a connection of their own and gives the one answer. */
export async function exchange(
  port: number,
  bytes: string | Buffer,
  options: { readonly withoutBody?: boolean } = {},
): Promise<ClientAnswer> {
  await using client = await RawClient.connect(port)
  client.write(bytes)
  return await client.answer(options)
}
