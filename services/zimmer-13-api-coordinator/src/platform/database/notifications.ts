/** Who listens on which channel. Knows nothing of connections: both kinds feed it. */
export class Notifications {
  readonly #listeners = new Map<string, Set<(payload: string) => void>>()

  /** True when the channel is new, so that the caller has to LISTEN. */
  add(channel: string, onNotify: (payload: string) => void): boolean {
    const known = this.#listeners.get(channel)
    if (known) {
      known.add(onNotify)
      return false
    }
    this.#listeners.set(channel, new Set([onNotify]))
    return true
  }

  /** True when nobody is left on the channel, so that the caller has to UNLISTEN. */
  remove(channel: string, onNotify: (payload: string) => void): boolean {
    const known = this.#listeners.get(channel)
    if (!known?.delete(onNotify) || known.size > 0) return false
    return this.#listeners.delete(channel)
  }

  deliver(channel: string, payload: string): void {
    for (const onNotify of this.#listeners.get(channel) ?? []) onNotify(payload)
  }

  channels(): string[] {
    return [...this.#listeners.keys()]
  }
}
