/**
 * A request body on its way to the instance, at the pace of the slower side, counted as it goes.
 *
 * It stands between the client's request and undici because undici destroys the body it was given
 * when the instance fails, and the client still has to get its answer.
 */
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'

export class BodyTooLarge extends Error {
  override readonly name = 'BodyTooLarge'
  readonly limit: number

  constructor(limit: number) {
    super('the body is larger than the limit')
    this.limit = limit
  }
}

export class UploadStream extends Readable {
  /** Nothing of it has been read: another instance can still have all of it. */
  untouched = true
  readonly #request: IncomingMessage
  readonly #limit: number
  readonly #onBytes: (bytes: number, whole: boolean) => void
  #size = 0

  /** `onBytes` is told of every piece, and with `whole` once of the end. */
  constructor(
    request: IncomingMessage,
    limit: number,
    onBytes: (bytes: number, whole: boolean) => void,
  ) {
    super({ highWaterMark: 64 * 1024 })
    this.#request = request
    this.#limit = limit
    this.#onBytes = onBytes
  }

  override _read(): void {
    if (this.untouched) {
      this.untouched = false
      this.#request.on('data', this.#take)
      this.#request.on('end', this.#end)
      this.#request.on('close', this.#closed)
    }
    this.#request.resume()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#request.off('data', this.#take)
    this.#request.off('end', this.#end)
    this.#request.off('close', this.#closed)
    // What is still on its way is for nobody; reading it keeps the connection readable for its end.
    this.#request.pause()
    done(error)
  }

  readonly #take = (chunk: Buffer): void => {
    this.#size += chunk.length
    this.#onBytes(chunk.length, false)
    if (this.#size > this.#limit) this.destroy(new BodyTooLarge(this.#limit))
    else if (!this.push(chunk)) this.#request.pause()
  }

  readonly #end = (): void => {
    this.#onBytes(0, true)
    this.push(null)
  }

  readonly #closed = (): void => {
    if (!this.#request.readableEnded) this.destroy(new Error('the client broke its body off'))
  }
}
