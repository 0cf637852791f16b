/**
 * The body of a service's answer, built once from decrypted values. The values go from the cipher
 * into the body as bytes; they become strings, which nothing can overwrite, only where a
 * registration needs them.
 */
import type { CredentialRecord } from './credential.ts'
import type { Offer } from './offer.ts'

export type Values = Readonly<Record<string, string>>

export class PreparedAnswer {
  readonly offer: Offer
  readonly #body: Buffer
  /** Where in the body the values of each credential are. */
  readonly #places: ReadonlyMap<string, readonly [start: number, end: number]>
  #wiped = false

  /** Takes `values`, JSON by credential name, and wipes them. */
  constructor(offer: Offer, values: ReadonlyMap<string, Buffer>) {
    const parts: Buffer[] = []
    const places = new Map<string, readonly [number, number]>()
    let length = 0
    const add = (part: Buffer): void => {
      parts.push(part)
      length += part.length
    }
    add(Buffer.from(`{"service":${JSON.stringify(offer.service)},"credentials":{`))
    for (const [place, credential] of offer.credentials.entries()) {
      const bytes = values.get(credential.name)
      if (!bytes) throw new Error(`credential ${credential.id} was not decrypted`)
      add(Buffer.from(`${place === 0 ? '' : ','}${headOf(credential)}`))
      places.set(credential.name, [length, length + bytes.length])
      add(bytes)
      add(Buffer.from(`,"expiresAt":${JSON.stringify(credential.expiresAt)}}`))
    }
    add(Buffer.from(`},"cacheTtlSeconds":${offer.cacheTtlSeconds}}`))
    this.offer = offer
    // Not from the shared pool of small buffers: a wipe must not leave a neighbour's copy in doubt.
    this.#body = Buffer.alloc(length)
    let at = 0
    for (const part of parts) at += part.copy(this.#body, at)
    for (const bytes of values.values()) bytes.fill(0)
    this.#places = places
  }

  get sizeBytes(): number {
    return this.#body.length
  }

  get wiped(): boolean {
    return this.#wiped
  }

  /** A copy, which stays whole whatever happens to the original. */
  body(): Buffer {
    this.#checkWhole()
    return Buffer.from(this.#body)
  }

  valuesOf(name: string): Values {
    this.#checkWhole()
    const place = this.#places.get(name)
    if (!place) throw new Error('the answer has no credential of that name')
    return parseValues(this.#body.subarray(...place))
  }

  wipe(): void {
    this.#wiped = true
    this.#body.fill(0)
  }

  #checkWhole(): void {
    if (this.#wiped) throw new Error('the answer has been wiped')
  }
}

function headOf({ id, name, version }: CredentialRecord): string {
  return `${JSON.stringify(name)}:{"id":"${id}","version":${version},"data":`
}

export function formatValues(values: Values): Buffer {
  return Buffer.from(JSON.stringify(values))
}

/** Of bytes that were authenticated: they are what `formatValues` has made. */
export function parseValues(bytes: Buffer): Values {
  const values: Record<string, string> = {}
  const parsed: unknown = JSON.parse(bytes.toString())
  if (typeof parsed !== 'object' || parsed === null) throw new Error('stored values are no object')
  for (const [key, value] of Object.entries(parsed)) values[key] = String(value)
  return values
}
