/** Handlers that are waited for: what they promise is what the house is told. */
type Handler<T> = (event: T) => unknown

export interface Emitter<Events> {
  on<K extends keyof Events>(name: K, handler: Handler<Events[K]>): () => void
  /** Rejects when a handler does, after all of them have ended. */
  emit<K extends keyof Events>(name: K, event: Events[K]): Promise<void>
}

export function createEmitter<Events>(): Emitter<Events> {
  const handlers: { [K in keyof Events]?: Set<Handler<Events[K]>> } = {}
  return {
    on(name, handler) {
      const known = (handlers[name] ??= new Set())
      known.add(handler)
      return () => void known.delete(handler)
    },
    async emit(name, event) {
      const outcomes = await Promise.allSettled(
        [...(handlers[name] ?? [])].map(async (handler) => handler(event)),
      )
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
    },
  }
}
