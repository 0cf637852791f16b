/**
 * What the outside world knows of a house: every acknowledged write, and every write whose answer
 * was lost with the process.
 *
 * Each thing is written by one writer, one write at a time. So after a crash it is either as last
 * acknowledged or as the one open write would have made it; anything else is a lost
 * acknowledgement, a half-written change or an invention, and `settle` says which.
 */

export interface InstanceFact {
  /** Null while only the house can know it: its registration was never answered. */
  readonly id: string | null
  readonly incarnation: number
}

export interface CredentialFact {
  readonly id: string | null
  readonly version: number
  readonly value: string
}

/** `open` is undefined when nothing is under way; null in either place: it is not there. */
export interface Place<Fact> {
  certain: Fact | null
  open: Fact | null | undefined
}

export interface Keys {
  readonly acknowledged: Map<string, string>
  /** Key creations without an answer: each may have made one. */
  open: number
}

/** The one credential that all writers compete for, and its values by acknowledged version. */
export interface Contest {
  readonly name: string
  readonly id: string
  readonly acknowledged: Map<number, string>
}

export interface Settled {
  written: number
  notWritten: number
}

export class Book {
  /** By `service address:port`. */
  readonly instances = new Map<string, Place<InstanceFact>>()
  /** By name. */
  readonly credentials = new Map<string, Place<CredentialFact>>()
  /** By service. */
  readonly keys = new Map<string, Keys>()
  contest: Contest = { name: '', id: '', acknowledged: new Map() }
  /** Request ids of acknowledged operations that are audited, until they have been looked up. */
  readonly audited = new Set<string>()
  /** Credentials written to since they were last looked at. */
  readonly touched = new Set<string>()
  readonly settled: Settled = { written: 0, notWritten: 0 }
  acknowledged = 0
  unanswered = 0
  highestIndex = 0
  /** What must not happen while the house runs. */
  readonly violations: string[] = []

  keysOf(service: string): Keys {
    const known = this.keys.get(service)
    if (known !== undefined) return known
    const keys: Keys = { acknowledged: new Map(), open: 0 }
    this.keys.set(service, keys)
    return keys
  }

  /** Compares one thing with what is known of it; from then on what is there is known. */
  settle<Fact extends object>(
    what: string,
    place: Place<Fact>,
    actual: Fact | null,
    same: (known: Fact, actual: Fact) => boolean,
  ): void {
    const fits = (known: Fact | null): boolean =>
      known === null || actual === null ? known === actual : same(known, actual)
    const { certain, open } = place
    place.open = undefined
    place.certain = actual
    if (open !== undefined && fits(open)) {
      this.settled.written += 1
      return
    }
    if (open !== undefined) this.settled.notWritten += 1
    if (fits(certain)) return
    const show = (fact: Fact | null | undefined): string => JSON.stringify(fact) ?? 'none'
    this.violations.push(
      `${what} was acknowledged as ${show(certain)}, open as ${show(open)}, and is ${show(actual)}`,
    )
  }
}
