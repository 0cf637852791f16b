/**
 * The credentials in use, and the ones that are to replace them.
 *
 *   current ──a newer version arrives──► both ──every handler has resolved──► the newer is current
 *
 * During the overlap both are at hand: a program opens a second pool with the new one and lets the
 * old one finish. What counts as adopted, and is told to the house, is what the handlers have
 * promised. A handler that fails keeps the old version; it is asked again later.
 */
import { inspect } from 'node:util'
import type { GrantedCredential, StaticOf } from '@haus/contract'
import type { Clock } from '../platform/clock.ts'
import { nameOf, type Log } from '../platform/log.ts'
import { redacted } from '../platform/secret.ts'

export type Granted = StaticOf<typeof GrantedCredential>

/** One version of a credential. Printing it prints no value. */
export class Credential {
  readonly name: string
  readonly id: string
  readonly version: number
  /** RFC 3339; null: it does not expire. */
  readonly expiresAt: string | null
  readonly #data: Readonly<Record<string, string>>

  constructor(name: string, { id, version, expiresAt, data }: Granted) {
    this.name = name
    this.id = id
    this.version = version
    this.expiresAt = expiresAt
    this.#data = Object.freeze({ ...data })
  }

  /** The values, such as `{ username, password }`. */
  reveal(): Readonly<Record<string, string>> {
    return this.#data
  }

  toJSON() {
    const { name, version, expiresAt } = this
    return { name, version, expiresAt, data: redacted }
  }

  [inspect.custom]() {
    return this.toJSON()
  }
}

export interface CredentialChange {
  readonly name: string
  /** Null: it is no longer granted. */
  readonly current: Credential | null
  /** Null: it has been granted just now. */
  readonly previous: Credential | null
}

export interface Credentials {
  get(name: string): Credential | undefined
  readonly names: string[]
  /** The versions in use, for the house. */
  adopted(): Record<string, number>
  /** All that are granted now. `silently`: nobody can use an older one yet. */
  receive(all: Readonly<Record<string, Granted>>, silently?: boolean): void
  /** The newest known, for the cache. */
  newest(): Record<string, Granted>
  stop(): void
}

export interface CredentialsOptions {
  /** Absent: all that are granted. */
  readonly needed: readonly string[] | undefined
  readonly notify: (change: CredentialChange) => Promise<void>
  readonly onAdopted: () => void
  readonly clock: Clock
  readonly log: Log
}

/** A handler that failed met a database that is away as likely as a wrong password. */
const tryAgainMs = 10_000
/** Then somebody should know that a rotation hangs. */
const slowMs = 60_000

export function createCredentials(options: CredentialsOptions): Credentials {
  const { notify, onAdopted, clock, log } = options
  const needed = options.needed && new Set(options.needed)
  const current = new Map<string, Credential>()
  /** What each should become; null: gone. Equal to `current` when there is nothing to do. */
  const wanted = new Map<string, Credential | null>()
  const underWay = new Set<string>()
  const retries = new Map<string, () => void>()
  let stopped = false

  function same(a: Credential | null | undefined, b: Credential | null | undefined): boolean {
    return a === b || (a?.id === b?.id && a?.version === b?.version)
  }

  async function adopt(name: string): Promise<void> {
    if (underWay.has(name)) return
    underWay.add(name)
    retries.get(name)?.()
    retries.delete(name)
    try {
      for (;;) {
        const next = wanted.get(name) ?? null
        const previous = current.get(name) ?? null
        if (next === null && previous === null) wanted.delete(name)
        if (stopped || same(next, previous)) return
        const version = next?.version ?? 0
        const cancelSlow = clock.after(slowMs, () =>
          log('warn', 'A handler has not adopted a credential for a minute.', { name, version }),
        )
        try {
          await notify({ name, current: next, previous })
        } catch (error) {
          log('warn', 'A handler failed: the older version of the credential stays in use.', {
            name,
            version,
            reason: nameOf(error),
          })
          retries.set(
            name,
            clock.after(tryAgainMs, () => void adopt(name)),
          )
          return
        } finally {
          cancelSlow()
        }
        if (stopped) return
        set(name, next)
        log('info', next ? 'A credential has been adopted.' : 'A credential is gone.', {
          name,
          version,
        })
        onAdopted()
      }
    } finally {
      underWay.delete(name)
    }
  }

  function set(name: string, next: Credential | null): void {
    if (next) current.set(name, next)
    else {
      current.delete(name)
      wanted.delete(name)
    }
  }

  return {
    get: (name) => current.get(name),

    get names() {
      return [...current.keys()].toSorted()
    },

    adopted: () => Object.fromEntries([...current].map(([name, { version }]) => [name, version])),

    receive(all, silently = false) {
      const names = new Set([...current.keys(), ...wanted.keys(), ...Object.keys(all)])
      for (const name of names) {
        if (needed && !needed.has(name)) continue
        const granted = Object.hasOwn(all, name) ? all[name] : undefined
        const next = granted ? new Credential(name, granted) : null
        wanted.set(name, next)
        if (silently) set(name, next)
        else void adopt(name)
      }
    },

    newest() {
      const all: Record<string, Granted> = {}
      for (const [name, credential] of wanted) {
        if (!credential) continue
        const { id, version, expiresAt } = credential
        all[name] = { id, version, expiresAt, data: { ...credential.reveal() } }
      }
      return all
    },

    stop() {
      stopped = true
      for (const cancel of retries.values()) cancel()
    },
  }
}
