/**
 * A value that must not be seen. It redacts itself wherever a value is turned into text by
 * accident: string concatenation, JSON, `console.log`, a structured logger. `reveal` is the one
 * way out and is easy to search for.
 */
import { inspect } from 'node:util'

export const redacted = '[secret]'

export class Secret<T = string> {
  readonly #value: T

  constructor(value: T) {
    this.#value = value
  }

  reveal(): T {
    return this.#value
  }

  toString(): string {
    return redacted
  }

  toJSON(): string {
    return redacted
  }

  [inspect.custom](): string {
    return redacted
  }
}
