/**
 * Gathers the engine's output into few messages.
 *
 * The engine writes in pieces of up to 8 KiB that lie in its own memory and must be copied at once.
 * One message per reply is what makes the thread hop cheap; a bound keeps a large result from being
 * held whole on this side.
 */

/** Most replies are far smaller; a larger one travels in parts of this size. */
const capacityBytes = 256 * 1024

export class ReplyBuffer {
  readonly #send: (bytes: Uint8Array<ArrayBuffer>) => void
  readonly #bytes = new Uint8Array(capacityBytes)
  #length = 0

  constructor(send: (bytes: Uint8Array<ArrayBuffer>) => void) {
    this.#send = send
  }

  append(bytes: Uint8Array): void {
    if (this.#length + bytes.length > capacityBytes) this.flush()
    if (bytes.length > capacityBytes) {
      this.#send(bytes.slice())
      return
    }
    this.#bytes.set(bytes, this.#length)
    this.#length += bytes.length
  }

  /** Sends what is left. An exact copy: the receiver owns it, and this buffer is used again. */
  flush(): void {
    if (this.#length === 0) return
    this.#send(this.#bytes.slice(0, this.#length))
    this.#length = 0
  }
}
