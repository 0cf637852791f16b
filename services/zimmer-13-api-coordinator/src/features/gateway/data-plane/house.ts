/** Everything the data plane decides by, as the last messages from the main thread told it. */
import { createAddressPolicy } from '../../../platform/network/address-policy.ts'
import type { Listener, RoutedPrefix, TrafficService, TrafficUpdate } from '../messages.ts'
import type { ConnectRules } from './upstream/connect.ts'
import { compileRoutes, type PublishedRoutes } from './routes.ts'
import { Service } from './service.ts'

export class House {
  index = 0
  routes: PublishedRoutes = compileRoutes([])
  #listeners: readonly Listener[] = []
  readonly #services = new Map<string, Service>()
  /** By name and alias. */
  readonly #names = new Map<string, Service>()
  readonly #rules: ConnectRules
  readonly #nowMs: () => number

  constructor(options: { readonly allow: readonly string[]; readonly nowMs: () => number }) {
    this.#nowMs = options.nowMs
    this.#rules = createAddressPolicy({
      allow: options.allow,
      ownListeners: () => this.#listeners,
    })
  }

  service(nameOrAlias: string): Service | undefined {
    return this.#names.get(nameOrAlias)
  }

  services(): IterableIterator<Service> {
    return this.#services.values()
  }

  takeListeners(listeners: readonly Listener[]): void {
    this.#listeners = listeners
  }

  takeRoutes(routes: readonly RoutedPrefix[]): void {
    this.routes = compileRoutes(routes)
  }

  /** All there are. */
  takeServices(services: readonly TrafficService[], index: number): void {
    const nowMs = this.#nowMs()
    this.index = index
    const gone = new Set(this.#services.keys())
    for (const known of services) {
      gone.delete(known.name)
      this.#service(known.name).takeAll(known, this.#rules, nowMs)
    }
    for (const name of gone) this.#forget(name)
    this.#nameAgain()
  }

  takeUpdates(updates: readonly TrafficUpdate[], index: number): void {
    const nowMs = this.#nowMs()
    this.index = index
    let renamed = false
    for (const update of updates) {
      if (update.forgotten) {
        this.#forget(update.name)
        renamed = true
        continue
      }
      const known = this.#services.get(update.name)
      if (known === undefined || !isSameList(known.aliases, update.aliases)) renamed = true
      this.#service(update.name).take(update, this.#rules, nowMs)
    }
    if (renamed) this.#nameAgain()
  }

  #forget(name: string): void {
    this.#services.get(name)?.retire()
    this.#services.delete(name)
  }

  #service(name: string): Service {
    let service = this.#services.get(name)
    if (service === undefined) {
      service = new Service(name)
      this.#services.set(name, service)
    }
    return service
  }

  #nameAgain(): void {
    this.#names.clear()
    for (const service of this.#services.values()) {
      for (const alias of service.aliases) this.#names.set(alias, service)
    }
    // A name goes before an alias, as in the registry.
    for (const service of this.#services.values()) this.#names.set(service.name, service)
  }
}

function isSameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, place) => item === b[place])
}
