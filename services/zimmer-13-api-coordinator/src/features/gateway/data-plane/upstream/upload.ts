/**
 * A request body on its way to the instance, at the pace of the slower side, counted as it goes.
 * Nothing of it is read before the connection is there, so that until then another instance can
 * still have all of it.
 */
import type { IncomingMessage } from 'node:http'
import { BodyTooLarge, Ended } from './failed-attempt.ts'

/** Where it goes. */
export interface UploadTarget {
  /** @returns false when it has enough for now: it says `resume` when it wants more */
  writeBody(bytes: Buffer): boolean
  endBody(): void
  bodyFailed(error: Error): void
}

export class Upload {
  /** In bytes, as the client has said; null: it comes in chunks. */
  readonly length: number | null
  /** Nothing of it has been read. */
  untouched = true
  /** The instance has not taken what was written. */
  blocked = false
  readonly #request: IncomingMessage
  readonly #limit: number
  readonly #onBytes: (bytes: number, whole: boolean) => void
  #target: UploadTarget | null = null
  #size = 0

  /** `onBytes` is told of every piece, and with `whole` once of the end. */
  constructor(
    request: IncomingMessage,
    length: number | null,
    limit: number,
    onBytes: (bytes: number, whole: boolean) => void,
  ) {
    this.#request = request
    this.length = length
    this.#limit = limit
    this.#onBytes = onBytes
  }

  start(target: UploadTarget): void {
    this.untouched = false
    this.#target = target
    this.#request.on('data', this.#take)
    this.#request.on('end', this.#end)
    this.#request.on('close', this.#closed)
    // The client may have gone while the connection was on its way.
    if (this.#request.destroyed) this.#closed()
  }

  resume(): void {
    this.blocked = false
    if (this.#target !== null) this.#request.resume()
  }

  /** What is still on its way is for nobody; whether it is read is for others to say. */
  stop(): void {
    if (this.#target === null) return
    this.#target = null
    this.#request.off('data', this.#take)
    this.#request.off('end', this.#end)
    this.#request.off('close', this.#closed)
    this.#request.pause()
  }

  readonly #take = (bytes: Buffer): void => {
    this.#size += bytes.length
    this.#onBytes(bytes.length, false)
    if (this.#size > this.#limit) this.#fail(new BodyTooLarge(this.#limit))
    else if (this.#target?.writeBody(bytes) === false) {
      this.blocked = true
      this.#request.pause()
    }
  }

  readonly #end = (): void => {
    this.#onBytes(0, true)
    this.#target?.endBody()
  }

  readonly #closed = (): void => {
    if (!this.#request.readableEnded) this.#fail(new Ended('client'))
  }

  #fail(error: Error): void {
    const target = this.#target
    this.stop()
    target?.bodyFailed(error)
  }
}
