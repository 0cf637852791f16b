/**
 * Credentials as operators manage them: create, add a version, change, delete, list.
 *
 * Each change is one ledger entry (rows, event and audit record together) built on the verified
 * state in memory and guarded by the revision in the table: a change that somebody else overtook
 * is tried again on what is there now, unless the caller has named the version he builds on.
 */
import {
  cacheTtlSecondsDefault,
  credentialsMax,
  credentialsPerServiceMax,
  credentialVersionsMax,
  HausError,
  type addCredentialVersion,
  type BodyOf,
  type createCredential,
  type EventType,
  type listCredentials,
  type QueryOf,
  type updateCredential as updateOperation,
} from '@haus/contract'
import type { Kysely } from 'kysely'
import type { Clock } from '../../platform/clock/clock.ts'
import type { Random } from '../../platform/crypto/index.ts'
import { decodeCursor, encodeCursor } from '../../platform/http/cursor.ts'
import type { RequestContext } from '../../platform/http/caller.ts'
import { GuardLost, type Ledger, type NewEvent, type Write } from '../../platform/ledger/ledger.ts'
import { auditOf } from '../audit/index.ts'
import type { Tables } from '../tables.ts'
import {
  metadataOf,
  targetOf,
  type CredentialMetadata,
  type CredentialRecord,
} from './credential.ts'
import type { ReadDatabase } from './database-read.ts'
import { sealVersion } from './envelope.ts'
import {
  invalid,
  parseExpiry,
  parseFutureExpiry,
  parseServices,
  parseValuesField,
} from './input.ts'
import { integrityFailed, KeyFault } from './integrity.ts'
import { find } from './lookup.ts'
import type { KeyRing } from './key-ring.ts'
import type { Values } from './prepared-answer.ts'
import { recordingRefusals } from './refusals.ts'
import { Room, type RoomLimits } from './room.ts'
import {
  forgetDeleted,
  insertCredential,
  insertVersion,
  loadByIds,
  pruneVersions,
  removeRows,
  replaceGrants,
  updateCredential,
} from './store.ts'
import { Turns } from './turns.ts'
import type { CredentialView, Untrusted } from './view.ts'

/** Turns keep this process's writers apart; more lost guards than this mean that replicas fight over it. */
const attemptsMax = 8

export interface ManagementLimits extends RoomLimits {
  /** Room to restore a mistake, and a bound on what deletion leaves behind. */
  readonly deletedKept: number
}

const managementLimits: ManagementLimits = {
  credentials: credentialsMax,
  credentialsPerService: credentialsPerServiceMax,
  deletedKept: credentialsMax,
}

export interface Management {
  create(
    input: BodyOf<typeof createCredential>,
    context: RequestContext,
  ): Promise<CredentialMetadata>
  addVersion(
    id: string,
    input: BodyOf<typeof addCredentialVersion>,
    context: RequestContext,
  ): Promise<CredentialMetadata>
  update(
    id: string,
    input: BodyOf<typeof updateOperation>,
    context: RequestContext,
  ): Promise<CredentialMetadata>
  remove(id: string, context: RequestContext): Promise<void>
  get(id: string, context: RequestContext): Promise<CredentialMetadata>
  list(query: QueryOf<typeof listCredentials>): CredentialPage
}

interface CredentialPage {
  readonly items: CredentialMetadata[]
  readonly nextCursor: string | null
}

export interface ManagementOptions {
  readonly db: Kysely<Tables>
  readonly ledger: Ledger
  readonly read: ReadDatabase
  readonly view: CredentialView
  readonly keyRing: KeyRing
  readonly houseId: string
  readonly clock: Clock
  readonly random: Random
  /** The name behind an alias; any other text as it is. */
  readonly canonicalService: (name: string) => string
  readonly limits?: Partial<ManagementLimits>
}

/** What a change is built on; absent: whatever there is. */
interface Basis {
  readonly cas?: number
  readonly casRevision?: number
}

/** What an operator wants different. Absent: as it is. */
interface Change {
  readonly values?: { readonly bytes: Buffer; readonly keys: readonly string[] }
  readonly services?: readonly string[]
  readonly description?: string | null
  readonly expiresAt?: Date | null
  readonly cacheTtlSeconds?: number
}

export function createManagement(options: ManagementOptions): Management {
  const { db, ledger, read, view, keyRing, houseId, clock, random, canonicalService } = options
  const limits = { ...managementLimits, ...options.limits }
  const turns = new Turns()
  const room = new Room(view, limits)

  async function sealValues(id: string, version: number, bytes: Buffer): Promise<Write> {
    const kek = await read(() => keyRing.newest())
    const sealed = sealVersion(kek, { houseId, credentialId: id, version }, bytes, random)
    return insertVersion({ id, version }, sealed, clock.now())
  }

  function grantWrites(record: CredentialRecord): Write {
    const { id: credentialId, grantsRevision } = record
    const grants = record.services.map((service) => ({
      service,
      mac: view.rows.grantMac({ credentialId, service, grantsRevision }),
    }))
    return replaceGrants(credentialId, grants, record.updatedAt)
  }

  async function append(
    record: CredentialRecord,
    writes: readonly Write[],
    event: NewEvent,
    context: RequestContext,
    detail: Readonly<Record<string, unknown>>,
    keys: readonly string[] = [`credential:${record.id}`],
  ): Promise<void> {
    const audit = auditOf(context, targetOf(record.name), { id: record.id, ...detail })
    await ledger.append({ keys, writes, events: [event], audit })
  }

  async function createOnce(
    input: BodyOf<typeof createCredential>,
    bytes: Buffer,
    context: RequestContext,
  ): Promise<CredentialRecord> {
    const now = clock.now()
    const services = parseServices(input.services ?? [], canonicalService)
    const expiresAt = input.expiresAt === undefined ? null : parseFutureExpiry(input.expiresAt, now)
    const taken = view.byName(input.name)
    if (taken) throw nameTaken(input.name)
    const record: CredentialRecord = {
      id: random.id(),
      name: input.name,
      version: 1,
      revision: 1,
      grantsRevision: 1,
      services,
      description: input.description ?? null,
      expiresAt,
      cacheTtlSeconds: input.cacheTtlSeconds ?? cacheTtlSecondsDefault,
      keys: Object.keys(input.data),
      createdAt: now,
      updatedAt: now,
      deletedAt: null,
    }
    return room.forNew(record.id, services, async () => {
      const writes = [
        insertCredential(record, view.rows.credentialMac(record)),
        await sealValues(record.id, record.version, bytes),
        ...(services.length > 0 ? [grantWrites(record)] : []),
      ]
      try {
        await append(
          record,
          writes,
          eventOf('haus.credential.created', record, services),
          context,
          { version: record.version, services },
          [`credential-name:${record.name}`],
        )
        return record
      } catch (error) {
        if (error instanceof GuardLost) throw nameTaken(input.name)
        throw error
      }
    })
  }

  /** Alone with a credential in this process. A refusal is on record. */
  function inTurn<T>(id: string, context: RequestContext, task: () => Promise<T>): Promise<T> {
    const target = targetOf(view.get(id)?.name ?? id)
    return recordingRefusals(ledger, context, target, () => turns.take(id, task))
  }

  /** One change of a live credential, again on what is there now when somebody was faster. */
  async function change(
    id: string,
    basis: Basis,
    once: (current: CredentialRecord) => Promise<CredentialRecord>,
  ): Promise<CredentialRecord> {
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const current = find(view, id)
      checkBasis(current, basis)
      try {
        return await once(current)
      } catch (error) {
        if (!(error instanceof GuardLost)) throw error
        // Also finds out when it was no faster writer, but an edited row.
        await read(() => view.reload([id]))
      }
    }
    throw new HausError(
      'version_conflict',
      'Others keep changing this credential. Read it again, then decide.',
    )
  }

  async function changeOnce(
    current: CredentialRecord,
    wanted: Change,
    context: RequestContext,
  ): Promise<CredentialRecord> {
    const { values, services } = wanted
    const revision = current.revision + 1
    const next: CredentialRecord = {
      ...current,
      revision,
      updatedAt: clock.now(),
      ...(values && { version: current.version + 1, keys: values.keys }),
      ...(services && { services, grantsRevision: revision }),
      ...(wanted.description !== undefined && { description: wanted.description }),
      ...(wanted.expiresAt !== undefined && { expiresAt: wanted.expiresAt }),
      ...(wanted.cacheTtlSeconds !== undefined && { cacheTtlSeconds: wanted.cacheTtlSeconds }),
    }
    const added = next.services.filter((service) => !current.services.includes(service))
    return room.forGrants(next.id, added, async () => {
      const writes = [updateCredential(next, view.rows.credentialMac(next))]
      if (values) {
        writes.push(
          await sealValues(next.id, next.version, values.bytes),
          pruneVersions(next.id, next.version - credentialVersionsMax),
        )
      }
      if (services) writes.push(grantWrites(next))
      const concerned = [...new Set([...current.services, ...next.services])].toSorted()
      await append(next, writes, eventOf('haus.credential.changed', next, concerned), context, {
        version: next.version,
        changed: Object.keys(wanted),
        ...(services && { services }),
      })
      return next
    })
  }

  async function changed(
    id: string,
    basis: Basis,
    wanted: Change,
    context: RequestContext,
  ): Promise<CredentialMetadata> {
    const once = (current: CredentialRecord): Promise<CredentialRecord> =>
      keyFaultRefused(current.name, () => changeOnce(current, wanted, context))
    return wiping(wanted.values?.bytes, async () =>
      metadataOf(await inTurn(id, context, () => change(id, basis, once))),
    )
  }

  async function removeOnce(
    current: CredentialRecord,
    context: RequestContext,
  ): Promise<CredentialRecord> {
    const now = clock.now()
    const next = { ...current, revision: current.revision + 1, updatedAt: now, deletedAt: now }
    await append(
      next,
      [updateCredential(next, view.rows.credentialMac(next)), forgetDeleted(limits.deletedKept)],
      eventOf('haus.credential.deleted', next, next.services),
      context,
      { version: next.version },
    )
    return next
  }

  /** What cannot be trusted cannot be kept for a restore either: its rows go, and its name is free. */
  async function removeUntrusted(untrusted: Untrusted, context: RequestContext): Promise<void> {
    const { credentialId: id, name, mac } = untrusted
    try {
      await ledger.append({
        keys: [`credential:${id}`],
        writes: [removeRows(id, mac)],
        events: [
          {
            type: 'haus.credential.deleted' satisfies EventType,
            subject: targetOf(name),
            service: null,
            data: { id, name, version: null, services: [] },
          },
        ],
        audit: auditOf(context, targetOf(name), { id, untrusted: true }),
      })
    } catch (error) {
      if (!(error instanceof GuardLost)) throw error
      await read(() => view.reload([id]))
      throw new HausError(
        'version_conflict',
        'The stored rows of this credential have changed meanwhile. Try again.',
      )
    }
  }

  async function isDeleted(id: string): Promise<boolean> {
    const [stored] = await read(() => loadByIds(db, [id]))
    return stored !== undefined && stored.columns.deletedAt !== null
  }

  return {
    async create(input, context) {
      const bytes = parseValuesField(input.data)
      return wiping(bytes, async () => {
        const record = await recordingRefusals(ledger, context, targetOf(input.name), () =>
          keyFaultRefused(input.name, () => createOnce(input, bytes, context)),
        )
        return metadataOf(record)
      })
    },

    addVersion: async (id, input, context) =>
      changed(id, input, { values: parseChangedValues(input.data) }, context),

    async update(id, input, context) {
      const wanted = parseChange(input, canonicalService)
      if (Object.keys(wanted).length === 0) {
        throw invalid('', 'must change something besides naming cas or casRevision')
      }
      return changed(id, input, wanted, context)
    },

    async remove(id, context) {
      const untrusted = view.untrusted(id)
      if (untrusted) return removeUntrusted(untrusted, context)
      await inTurn(id, context, async () => {
        try {
          await change(id, {}, (current) => removeOnce(current, context))
        } catch (error) {
          // Deleted long ago, or by a faster one, here or in another process: as it is wanted.
          if (!isNotFound(error) || !(await isDeleted(id))) throw error
        }
      })
    },

    get: (id, context) =>
      recordingRefusals(ledger, context, targetOf(view.get(id)?.name ?? id), async () =>
        metadataOf(find(view, id)),
      ),

    list({ service, cursor, limit = 100 }) {
      const after = decodeCursor(cursor) ?? ''
      const names = service === undefined ? view.names() : view.namesOf(canonicalService(service))
      const start = firstAfter(names, after)
      const page = names.slice(start, start + limit)
      const last = page.at(-1)
      const items: CredentialMetadata[] = []
      for (const name of page) {
        const record = view.byName(name)
        if (record) items.push(metadataOf(record))
      }
      const more = last !== undefined && start + limit < names.length
      return { items, nextCursor: more ? encodeCursor(last) : null }
    },
  }

  /** A key-encryption key that does not open concerns everybody who needs it. */
  async function keyFaultRefused<T>(name: string, task: () => Promise<T>): Promise<T> {
    try {
      return await task()
    } catch (error) {
      if (!(error instanceof KeyFault)) throw error
      view.integrity.report(error.fault)
      throw integrityFailed({ credentialId: '', name, fault: error.fault })
    }
  }
}

async function wiping<T>(bytes: Buffer | undefined, task: () => Promise<T>): Promise<T> {
  try {
    return await task()
  } finally {
    bytes?.fill(0)
  }
}

function parseChangedValues(data: Values): NonNullable<Change['values']> {
  return { bytes: parseValuesField(data), keys: Object.keys(data) }
}

function parseChange(
  input: BodyOf<typeof updateOperation>,
  canonicalService: (name: string) => string,
): Change {
  const { data, services, description, expiresAt, cacheTtlSeconds } = input
  return {
    ...(services !== undefined && { services: parseServices(services, canonicalService) }),
    ...(description !== undefined && { description }),
    ...(expiresAt !== undefined && {
      expiresAt: expiresAt === null ? null : parseExpiry(expiresAt),
    }),
    ...(cacheTtlSeconds !== undefined && { cacheTtlSeconds }),
    // Last: nothing may throw once the values are in a buffer that has to be wiped.
    ...(data !== undefined && { values: parseChangedValues(data) }),
  }
}

/** `services`: those it concerns, granted before or after. They may see the event. */
function eventOf(
  type: Extract<EventType, `haus.credential.${string}`>,
  { id, name, version }: CredentialRecord,
  services: readonly string[],
): NewEvent {
  return { type, subject: targetOf(name), service: null, data: { id, name, version, services } }
}

/** The place of the first name after `name`, by halving. */
function firstAfter(names: readonly string[], name: string): number {
  let low = 0
  let high = names.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((names[middle] ?? '') > name) high = middle
    else low = middle + 1
  }
  return low
}

function isNotFound(error: unknown): boolean {
  return error instanceof HausError && error.code === 'credential_not_found'
}

function nameTaken(name: string): HausError {
  const detail = `"${name}" is the name of another credential; choose a new one, or add a version to that`
  return new HausError('name_taken', `name: ${detail}.`, { fields: [{ field: '/name', detail }] })
}

/** @throws HausError version_conflict */
function checkBasis({ version, revision }: CredentialRecord, { cas, casRevision }: Basis): void {
  if (cas !== undefined && cas !== version) {
    throw outdated('/cas', `is ${cas}, and the current version is ${version}`)
  }
  if (casRevision !== undefined && casRevision !== revision) {
    throw outdated('/casRevision', `is ${casRevision}, and the current revision is ${revision}`)
  }
}

function outdated(field: string, what: string): HausError {
  const detail = `${what}: read the credential again and decide whether to write over it`
  return new HausError('version_conflict', `${field} ${detail}.`, { fields: [{ field, detail }] })
}
