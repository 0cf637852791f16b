/**
 * Who a token stands for, as long as it does. Everything that was made from it (verified tokens,
 * streams) points here, so that ending it is one assignment and is seen by all at once.
 */
export class Principal {
  #live = true
  #controller: AbortController | undefined

  /** Once false, never true again in this process, whatever the database says. */
  get live(): boolean {
    return this.#live
  }

  /** Made when somebody asks: ten thousand idle keys need none. */
  get revoked(): AbortSignal {
    this.#controller ??= new AbortController()
    if (!this.#live) this.#controller.abort()
    return this.#controller.signal
  }

  end(): void {
    this.#live = false
    this.#controller?.abort()
  }
}
