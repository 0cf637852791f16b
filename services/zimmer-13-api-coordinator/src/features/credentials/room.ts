/**
 * The limits of the house and of each service. A write under way counts as if it stood, so that
 * those that come at once keep a limit together. It does not count what other processes have in
 * flight, nor a write whose outcome is not known: these are seen once they are in the view.
 */
import { HausError } from '@haus/contract'
import type { CredentialView } from './view.ts'

export interface RoomLimits {
  readonly credentials: number
  readonly credentialsPerService: number
}

export class Room {
  readonly #view: CredentialView
  readonly #limits: RoomLimits
  /** Ids of new credentials under way to the view. */
  readonly #coming = new Set<string>()
  /** By service: ids of the credentials whose grant to it is under way. */
  readonly #grantsComing = new Map<string, Set<string>>()

  constructor(view: CredentialView, limits: RoomLimits) {
    this.#view = view
    this.#limits = limits
  }

  /**
   * Keeps room for a new credential and its grants until `write` has ended, either way.
   * @throws HausError limit_reached
   */
  async forNew<T>(id: string, services: readonly string[], write: () => Promise<T>): Promise<T> {
    this.#checkHouse()
    this.#coming.add(id)
    try {
      return await this.forGrants(id, services, write)
    } finally {
      this.#coming.delete(id)
    }
  }

  /**
   * The same for grants that a credential does not have yet.
   * @throws HausError limit_reached
   */
  async forGrants<T>(id: string, services: readonly string[], write: () => Promise<T>): Promise<T> {
    for (const service of services) this.#checkService(service)
    for (const service of services) {
      const ids = this.#grantsComing.get(service)
      if (ids) ids.add(id)
      else this.#grantsComing.set(service, new Set([id]))
    }
    try {
      return await write()
    } finally {
      for (const service of services) this.#arrived(service, id)
    }
  }

  #checkHouse(): void {
    const max = this.#limits.credentials
    const free = max - this.#view.size
    // The view has a credential some moments before its write has ended: not twice.
    if (hasFewer(this.#coming, free, (id) => this.#view.get(id) !== undefined)) return
    throw new HausError(
      'limit_reached',
      `The house has ${max} credentials, which is its limit; delete one first.`,
    )
  }

  #checkService(service: string): void {
    const max = this.#limits.credentialsPerService
    const free = max - this.#view.grantedCount(service)
    const stands = (id: string): boolean => this.#view.get(id)?.services.includes(service) ?? false
    if (hasFewer(this.#grantsComing.get(service) ?? none, free, stands)) return
    throw new HausError(
      'limit_reached',
      `Service "${service}" has ${max} credentials, which is the limit; take one away from it first.`,
      { fields: [{ field: '/services', detail: `"${service}" is at its limit` }] },
    )
  }

  #arrived(service: string, id: string): void {
    const ids = this.#grantsComing.get(service)
    ids?.delete(id)
    if (ids?.size === 0) this.#grantsComing.delete(service)
  }
}

const none: ReadonlySet<string> = new Set()

/** Whether fewer than `max` of `coming` do not stand yet. One by one only when it matters. */
function hasFewer(
  coming: ReadonlySet<string>,
  max: number,
  stands: (id: string) => boolean,
): boolean {
  if (coming.size < max) return true
  let left = max
  for (const id of coming) if (!stands(id)) left -= 1
  return left > 0
}
