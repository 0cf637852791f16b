/** Published routes in memory, as the ledger tells of them. Listeners hear of every change at once. */
import type { Kysely } from 'kysely'
import type { LedgerEvent, LoadableProjection } from '../../platform/ledger/index.ts'
import type { Tables } from '../tables.ts'
import { routeKey, routeOf, type PublishedRoute } from './published-route.ts'
import { loadRoutes } from './store.ts'

export class RouteView implements LoadableProjection<Tables> {
  #routes = new Map<string, PublishedRoute>()
  readonly #listeners: (() => void)[] = []

  async load(db: Kysely<Tables>): Promise<void> {
    this.#routes = new Map((await loadRoutes(db)).map((route) => [route.id, route]))
    this.#tell()
  }

  apply(events: readonly LedgerEvent[]): void {
    let changed = false
    for (const event of events) {
      if (event.type === 'haus.route.changed') {
        const route = routeOf(event.data)
        if (route === null) continue
        this.#routes.set(route.id, route)
        changed = true
      } else if (event.type === 'haus.route.deleted') {
        const { id } = event.data
        if (typeof id === 'string') changed = this.#routes.delete(id) || changed
      }
    }
    if (changed) this.#tell()
  }

  /** By id, which for UUIDv7 is the order in which they were made. */
  all(): PublishedRoute[] {
    return [...this.#routes.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1))
  }

  get size(): number {
    return this.#routes.size
  }

  get(id: string): PublishedRoute | undefined {
    return this.#routes.get(id)
  }

  /** Another route that publishes the same. */
  rival(route: PublishedRoute): PublishedRoute | undefined {
    const key = routeKey(route)
    for (const other of this.#routes.values()) {
      if (other.id !== route.id && routeKey(other) === key) return other
    }
    return undefined
  }

  /** Must not throw. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener)
  }

  #tell(): void {
    for (const listener of this.#listeners) listener()
  }
}
