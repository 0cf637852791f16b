/**
 * What `pg` takes for a network socket: a Duplex that carries protocol bytes to the engine's thread.
 *
 * Whole messages only: the driver corks its extended-query sequences, so each write here ends
 * where a reply is due. Errors stay protocol bytes and become `pg.DatabaseError` in the driver,
 * with code and detail, which an object bridge across threads would lose.
 */
import { Duplex } from 'node:stream'
import type { MessagePort } from 'node:worker_threads'
import { asError } from '../../errors/thrown.ts'

export class WorkerSocket extends Duplex {
  readonly #openLine: () => MessagePort
  #port: MessagePort | undefined

  /** `openLine` throws when the engine is gone. */
  constructor(openLine: () => MessagePort) {
    super()
    this.#openLine = openLine
  }

  connect(): this {
    try {
      this.#port = this.#openLine()
    } catch (error) {
      this.destroy(asError(error))
      return this
    }
    this.#port.on('message', (bytes: Uint8Array) => this.push(bytes))
    this.#port.on('close', () => this.destroy())
    queueMicrotask(() => this.emit('connect'))
    return this
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    // An owned copy: the driver's chunks are views on one large buffer, which would travel whole.
    this.#send(new Uint8Array(chunk))
    done()
  }

  override _writev(chunks: readonly { chunk: Buffer }[], done: () => void): void {
    let sizeBytes = 0
    for (const { chunk } of chunks) sizeBytes += chunk.length
    const bytes = new Uint8Array(sizeBytes)
    let offset = 0
    for (const { chunk } of chunks) {
      bytes.set(chunk, offset)
      offset += chunk.length
    }
    this.#send(bytes)
    done()
  }

  #send(bytes: Uint8Array<ArrayBuffer>): void {
    this.#port?.postMessage(bytes, [bytes.buffer])
  }

  override _read(): void {}

  override _final(done: () => void): void {
    this.#port?.close()
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#port?.close()
    done(error)
  }

  // The rest of net.Socket that the driver calls; there is no network below to tune.
  setNoDelay(): this {
    return this
  }
  setKeepAlive(): this {
    return this
  }
  ref(): this {
    return this
  }
  unref(): this {
    return this
  }
}
