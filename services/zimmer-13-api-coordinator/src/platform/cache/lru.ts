/**
 * A bounded map that forgets what has not been asked for lately.
 *
 * Two generations instead of a linked list: a hit in the young one changes nothing, which keeps
 * the hit at the price of one map lookup. When the young one is full it becomes the old one, and
 * what was not asked for since the time before is gone. It holds `capacity` entries at most and
 * remembers at least the last half of them.
 */
export class Lru<Value> {
  readonly #half: number
  #young = new Map<string, Value>()
  #old = new Map<string, Value>()

  constructor(capacity: number) {
    this.#half = Math.max(1, Math.floor(capacity / 2))
  }

  get size(): number {
    return this.#young.size + this.#old.size
  }

  get(key: string): Value | undefined {
    const young = this.#young.get(key)
    if (young !== undefined) return young
    const old = this.#old.get(key)
    if (old !== undefined) {
      this.#old.delete(key)
      this.set(key, old)
    }
    return old
  }

  set(key: string, value: Value): void {
    if (this.#young.size >= this.#half && !this.#young.has(key)) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#old.delete(key)
    this.#young.set(key, value)
  }
}
