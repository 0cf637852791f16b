/**
 * Reads of values: by services, for registrations, and by operators.
 *
 * Nothing leaves before its audit record is durable, and nothing leaves that was changed, revoked
 * or deleted while the record was being written: what is offered is looked at again afterwards,
 * and the read starts over if it is not the same any more.
 */
import { HausError } from '@haus/contract'
import type { Clock } from '../../platform/clock/clock.ts'
import type { RequestContext } from '../../platform/http/caller.ts'
import type { AuditEntry, Ledger } from '../../platform/ledger/ledger.ts'
import { notOwn } from '../../platform/http/index.ts'
import { auditOf } from '../audit/index.ts'
import { oldestKept, targetOf, type CredentialRecord } from './credential.ts'
import type { ReadDatabase } from './database-read.ts'
import { ValuesFault, type Decryption } from './decryption.ts'
import { integrityFailed, type NamedFault } from './integrity.ts'
import { find } from './lookup.ts'
import { matchesEtag, type Offer } from './offer.ts'
import { PlaintextCache } from './plaintext-cache.ts'
import { parseValues, PreparedAnswer, type Values } from './prepared-answer.ts'
import { recordingRefusals, recordRefusal } from './refusals.ts'
import type { CredentialView } from './view.ts'

/** Each turn more means that somebody changed these credentials within the milliseconds of a read. */
const attemptsMax = 5

/** All prepared answers of 200 services of some KiB each, several times over. */
const cacheDefaultBytes = 64 * 1024 * 1024

interface ServiceAnswer {
  readonly etag: string
  /** JSON; null: what the caller has is current. */
  readonly body: Buffer | null
}

interface GrantedValue {
  readonly id: string
  readonly version: number
  readonly data: Values
  readonly expiresAt: string | null
}

interface Granted {
  readonly credentials: Readonly<Record<string, GrantedValue>>
  /** Belongs into the audit record of the entry that hands them out. */
  readonly auditDetail: Readonly<Record<string, unknown>>
  /** False once any of them has changed: ask again before the answer leaves. */
  isCurrent(): boolean
}

interface Revealed {
  readonly id: string
  readonly name: string
  readonly version: number
  readonly data: Values
}

export interface Reading {
  readFor(
    name: string,
    ifNoneMatch: string | undefined,
    context: RequestContext,
  ): Promise<ServiceAnswer>
  grantedTo(
    name: string,
    wanted: readonly string[] | undefined,
    context: RequestContext,
  ): Promise<Granted>
  versionsOf(name: string): Readonly<Record<string, number>>
  reveal(id: string, version: number | undefined, context: RequestContext): Promise<Revealed>
  readonly cachedBytes: number
  close(): void
}

export interface ReadingOptions {
  readonly view: CredentialView
  readonly ledger: Ledger
  readonly read: ReadDatabase
  readonly decryption: Decryption
  readonly clock: Clock
  /** The name behind an alias; any other text as it is. */
  readonly canonicalService: (name: string) => string
  readonly cacheMaxBytes?: number
}

export function createReading(options: ReadingOptions): Reading {
  const { view, ledger, read, decryption, clock, canonicalService } = options
  const cache = new PlaintextCache(clock, options.cacheMaxBytes ?? cacheDefaultBytes)
  /** By ETag: the first reader after a change decrypts, the others wait for it. */
  const preparing = new Map<string, Promise<PreparedAnswer>>()
  let closed = false
  view.onChange((service) => cache.drop(service))

  const offerTo = (service: string): Offer => view.offerTo(service, clock.now().getTime())

  const isCurrent = (offer: Offer): boolean => offerTo(offer.service).etag === offer.etag

  /**
   * Lets `use` take what it needs of `chosen` from a prepared answer, at once: it is whole only
   * until the next turn of the event loop. Null: the offer is not current any more.
   *
   * Only the whole offer is shared and held. Of a part nothing else is opened: a damaged
   * credential must not refuse those who have not asked for it.
   */
  async function withPrepared<T>(
    offer: Offer,
    chosen: readonly CredentialRecord[],
    use: (answer: PreparedAnswer) => T,
  ): Promise<T | null> {
    const held = cache.get(offer.service, offer.etag)
    if (held) return use(held)
    const whole = chosen.length === offer.credentials.length
    if (whole && chosen.length > 0 && offer.cacheTtlSeconds > 0) {
      const shared = await opening(offer, () => prepareShared(offer))
      // Wiped: pushed out of a full cache before this reader's turn.
      if (!shared?.wiped) return shared && use(shared)
    }
    const own = await opening(offer, () => decrypt({ ...offer, credentials: chosen }))
    if (!own) return null
    try {
      return use(own)
    } finally {
      own.wipe()
    }
  }

  function prepareShared(offer: Offer): Promise<PreparedAnswer> {
    let running = preparing.get(offer.etag)
    if (!running) {
      running = decryptAndHold(offer).finally(() => preparing.delete(offer.etag))
      preparing.set(offer.etag, running)
    }
    return running
  }

  async function decryptAndHold(offer: Offer): Promise<PreparedAnswer> {
    const readAtMs = clock.monotonicMs()
    const answer = await decrypt(offer)
    const endsInMs = offer.untilMs - clock.now().getTime()
    const untilMs = Math.min(
      readAtMs + offer.cacheTtlSeconds * 1_000,
      clock.monotonicMs() + endsInMs,
    )
    const held = !closed && isCurrent(offer) && cache.put(answer, untilMs)
    // Those who wait for it have taken their copies by the next turn of the event loop.
    if (!held) clock.after(0, () => answer.wipe())
    return answer
  }

  async function decrypt(offer: Offer): Promise<PreparedAnswer> {
    return new PreparedAnswer(offer, await decryption.open(offer.credentials))
  }

  /**
   * Values that cannot be opened are looked up again first: they may be of a version that has been
   * replaced and pruned since. Null: it has.
   * @throws HausError integrity_failed
   */
  async function whileCurrent<T>(
    open: () => Promise<T>,
    current: () => boolean,
  ): Promise<T | null> {
    try {
      return await open()
    } catch (error) {
      if (!(error instanceof ValuesFault)) throw error
      await read(() => view.reload([error.named.credentialId]))
      if (!current()) return null
      throw refusedFor(error.named)
    }
  }

  function opening<T>(offer: Offer, open: () => Promise<T>): Promise<T | null> {
    return whileCurrent(open, () => isCurrent(offer))
  }

  function refusedFor(named: NamedFault): HausError {
    view.integrity.report(named.fault)
    return integrityFailed(named)
  }

  function appendAudit(audit: AuditEntry): Promise<unknown> {
    return ledger.append({ keys: [], writes: [], events: [], audit })
  }

  async function answerTo(
    service: string,
    target: string,
    ifNoneMatch: string | undefined,
    context: RequestContext,
  ): Promise<ServiceAnswer> {
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const offer = offerTo(service)
      const [fault] = offer.faults
      if (fault) throw refusedFor(fault)
      // Not recorded: the caller learns that nothing has changed, and no value leaves. A record
      // would make every poll cost a flush and bury the reads that count.
      if (matchesEtag(ifNoneMatch, offer.etag)) return { etag: offer.etag, body: null }
      const body = await withPrepared(offer, offer.credentials, (prepared) => prepared.body())
      if (!body) continue
      await appendAudit(auditOf(context, target, offer.auditDetail))
      if (isCurrent(offer)) return { etag: offer.etag, body }
      body.fill(0)
    }
    throw changingTooFast()
  }

  function checkOwn(service: string, context: RequestContext): void {
    const { caller } = context
    if (caller.kind === 'operator' || caller.service === service) return
    throw notOwn('path.name', service, caller.service ?? '')
  }

  /** What of the offer a registration gets. @throws HausError credential_not_granted */
  function choose(offer: Offer, wanted: readonly string[] | undefined): CredentialRecord[] {
    if (wanted === undefined) return [...offer.credentials]
    const byName = new Map(offer.credentials.map((credential) => [credential.name, credential]))
    return [...new Set(wanted)].map((name) => {
      const credential = byName.get(name)
      if (credential) return credential
      const place = wanted.indexOf(name)
      const expired = offer.expired.find((each) => each.name === name)
      const detail = expired
        ? `credential "${name}" expired at ${expired.expiresAt?.toISOString() ?? ''}; set a later expiresAt or add it anew`
        : `credential "${name}" does not exist or is not granted to service "${offer.service}"; grant it first`
      throw new HausError('credential_not_granted', `credentialsNeeded: ${detail}.`, {
        fields: [{ field: `/credentialsNeeded/${place}`, detail }],
      })
    })
  }

  async function grant(service: string, wanted: readonly string[] | undefined): Promise<Granted> {
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const offer = offerTo(service)
      const met = offer.faults.find(({ name }) => wanted === undefined || wanted.includes(name))
      if (met) throw refusedFor(met)
      const chosen = choose(offer, wanted)
      const credentials =
        chosen.length === 0
          ? {}
          : await withPrepared(offer, chosen, (prepared) => grantedValues(chosen, prepared))
      if (!credentials) continue
      const versions = Object.fromEntries(chosen.map(({ name, version }) => [name, version]))
      return {
        credentials,
        auditDetail: { credentials: versions },
        isCurrent: () => isCurrent(offer),
      }
    }
    throw changingTooFast()
  }

  async function revealOnce(
    id: string,
    version: number | undefined,
    context: RequestContext,
  ): Promise<Revealed> {
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const credential = find(view, id)
      const { name } = credential
      const wanted = { id, name, version: version ?? credential.version }
      checkKept(credential, wanted.version)
      const values = await whileCurrent(
        () => decryption.open([wanted]),
        () => view.get(id)?.revision === credential.revision,
      )
      const bytes = values?.get(name)
      if (!bytes) continue
      try {
        await appendAudit(auditOf(context, targetOf(name), { id, version: wanted.version }))
        const now = find(view, id)
        if (version === undefined && now.version !== wanted.version) continue
        return { ...wanted, data: parseValues(bytes) }
      } finally {
        bytes.fill(0)
      }
    }
    throw changingTooFast()
  }

  return {
    async readFor(name, ifNoneMatch, context) {
      const service = canonicalService(name)
      const target = `credentials/service/${service}`
      try {
        checkOwn(service, context)
        return await answerTo(service, target, ifNoneMatch, context)
      } catch (error) {
        await recordRefusal(ledger, context, target, error)
        throw error
      }
    },

    grantedTo(name, wanted, context) {
      const service = canonicalService(name)
      return recordingRefusals(ledger, context, `credentials/service/${service}`, () =>
        grant(service, wanted),
      )
    },

    versionsOf(name) {
      const service = canonicalService(name)
      return view.grantedCount(service) === 0 ? none : offerTo(service).versions
    },

    reveal(id, version, context) {
      const target = targetOf(view.get(id)?.name ?? id)
      return recordingRefusals(ledger, context, target, () => revealOnce(id, version, context))
    },

    get cachedBytes() {
      return cache.sizeBytes
    },

    close() {
      closed = true
      cache.clear()
    },
  }
}

const none: Readonly<Record<string, number>> = Object.freeze({})

function grantedValues(
  chosen: readonly CredentialRecord[],
  prepared: PreparedAnswer,
): Record<string, GrantedValue> {
  const values: Record<string, GrantedValue> = {}
  for (const { id, name, version, expiresAt } of chosen) {
    const data = prepared.valuesOf(name)
    values[name] = { id, version, data, expiresAt: expiresAt?.toISOString() ?? null }
  }
  return values
}

function checkKept(credential: CredentialRecord, version: number): void {
  const oldest = oldestKept(credential.version)
  if (version >= oldest && version <= credential.version) return
  const kept =
    oldest === credential.version ? `${oldest} is` : `${oldest} to ${credential.version} are`
  throw new HausError(
    'credential_not_found',
    `Credential "${credential.name}" has no version ${version}; ${kept} kept.`,
    { fields: [{ field: 'query.version', detail: 'must be a version that is kept' }] },
  )
}

function changingTooFast(): HausError {
  return new HausError(
    'overloaded',
    'These credentials are being changed faster than they can be read. Try again in a moment.',
    { retryAfterSeconds: 1 },
  )
}
