/** A house of credentials for tests: real database and ledger, captured logs, a clock that tests move. */
import { Writable } from 'node:stream'
import { after } from 'node:test'
import type { Kysely } from 'kysely'
import { migrations } from '../migrations/index.ts'
import { systemClock } from '../platform/clock/clock.ts'
import { Secret, systemRandom, type Key } from '../platform/crypto/index.ts'
import type { Database, DatabaseKind } from '../platform/database/index.ts'
import type { Caller, RequestContext } from '../platform/http/caller.ts'
import {
  createLedger,
  type Entry,
  type LedgerEvent,
  type RunningLedger,
} from '../platform/ledger/index.ts'
import { createLog } from '../platform/log/log.ts'
import { openTestDatabase, type TestDatabase } from './databases.ts'
import { ManualClock } from './manual-clock.ts'
import type { Tables } from '../features/tables.ts'
import {
  CredentialView,
  createCredentials,
  type Credentials,
} from '../features/credentials/index.ts'
import type { ManagementLimits } from '../features/credentials/service.ts'

const houseId = '01933b6e-7c00-7000-8000-0000000000aa'
const rootKey: Key = new Secret(Buffer.alloc(32, 5))

interface ProcessOptions {
  readonly rootKey?: Key
  readonly cacheMaxBytes?: number
  readonly limits?: Partial<ManagementLimits>
  readonly aliases?: Readonly<Record<string, string>>
  /** Runs before each entry is appended: what happens meanwhile, in a test's hands. */
  readonly beforeAppend?: (entry: Entry) => Promise<void>
}

/** One process of the house: what is in memory, over a database that others may share. */
export interface TestProcess {
  readonly credentials: Credentials
  readonly view: CredentialView
  readonly ledger: RunningLedger
  readonly clock: ManualClock
  /** Each line that was logged. */
  readonly logged: string[]
  readonly events: LedgerEvent[]
  stop(): Promise<void>
}

async function startProcess(
  database: Database<Tables>,
  options: ProcessOptions = {},
): Promise<TestProcess> {
  const { aliases = {}, rootKey: key = rootKey, beforeAppend, ...rest } = options
  const logged: string[] = []
  const log = createLog({
    level: 'debug',
    format: 'json',
    destination: new Writable({
      write(chunk, _encoding, done) {
        logged.push(String(chunk))
        done()
      },
    }),
  })
  const clock = new ManualClock(new Date().toISOString())
  const events: LedgerEvent[] = []
  const deletedMax = options.limits?.deletedKept
  const view = new CredentialView({
    db: database.db,
    rootKey: key,
    houseId,
    log,
    ...(deletedMax !== undefined && { deletedMax }),
  })
  const ledger = createLedger<Tables>({
    database,
    clock: systemClock,
    log,
    writeTimeoutMs: 30_000,
    projections: [
      view,
      { load: async (_db: Kysely<Tables>) => {}, apply: (batch) => void events.push(...batch) },
    ],
  })
  await ledger.start()
  const credentials = createCredentials({
    database,
    ledger: beforeAppend
      ? {
          ...ledger,
          append: async (entry) => {
            await beforeAppend(entry)
            return ledger.append(entry)
          },
        }
      : ledger,
    view,
    rootKey: key,
    houseId,
    clock,
    random: systemRandom,
    canonicalService: (name) => aliases[name] ?? name,
    ...rest,
  })
  return {
    credentials,
    view,
    ledger,
    clock,
    logged,
    events,
    async stop() {
      await ledger.stop(1_000)
      credentials.close()
    },
  }
}

export interface TestHouse extends TestProcess, AsyncDisposable {
  readonly database: TestDatabase<Tables>
  /** Another process over the same database; the house stops it. */
  another(options?: ProcessOptions): Promise<TestProcess>
}

/**
 * One database per kind and test file: opening the embedded one takes longer than most tests, and
 * the tests of a file run one after the other. Each house starts with empty tables.
 */
const shared = new Map<DatabaseKind, Promise<TestDatabase<Tables>>>()
after(async () => {
  for (const database of shared.values()) await (await database).cleanup()
})

const emptyTables = `
  drop table if exists haus.kept;
  truncate haus.credential, haus.credential_version, haus.credential_grant,
    haus.key_encryption_key, haus.audit, haus.ledger_event;
  update haus.ledger_head set last_event = 0, last_audit = 0`

export interface HouseOptions extends ProcessOptions {
  /** For tests that take the database away. */
  readonly ownDatabase?: boolean
}

export async function openTestHouse(
  kind: DatabaseKind,
  options: HouseOptions = {},
): Promise<TestHouse> {
  const { ownDatabase = false, ...processOptions } = options
  const open = (): Promise<TestDatabase<Tables>> => openTestDatabase<Tables>(kind, { migrations })
  const opening = ownDatabase ? open() : (shared.get(kind) ?? open())
  if (!ownDatabase) shared.set(kind, opening)
  const database = await opening
  await database.pool.query(emptyTables)
  const first = await startProcess(database, processOptions)
  const processes = [first]
  return {
    ...first,
    database,
    async another(others = processOptions) {
      const next = await startProcess(database, others)
      processes.push(next)
      return next
    },
    async [Symbol.asyncDispose]() {
      for (const each of processes) await each.stop()
      if (ownDatabase) await database.cleanup()
    },
  }
}

const nobodysCaller = { expiresAtMonotonicMs: null, revoked: null }

export function operatorDoes(operation: string): RequestContext {
  const caller: Caller = {
    kind: 'operator',
    actor: 'operator',
    service: null,
    ...nobodysCaller,
  }
  return { caller, operation, requestId: 'request-0001', source: '127.0.0.1' }
}

export function serviceDoes(service: string, operation: string): RequestContext {
  const caller: Caller = {
    kind: 'service',
    actor: `service:${service}`,
    service,
    ...nobodysCaller,
  }
  return { caller, operation, requestId: 'request-0002', source: '10.0.0.2' }
}

export interface AuditRow {
  readonly actor: string
  readonly action: string
  readonly target: string
  readonly outcome: string
  readonly code: string | null
  readonly detail: Record<string, unknown>
}

export async function auditOfHouse(database: Database<Tables>): Promise<AuditRow[]> {
  const { rows } = await database.pool.query<AuditRow>(
    `select actor, action, target, outcome, code, detail from haus.audit
     where action <> 'createKeyEncryptionKey' order by id`,
  )
  return rows
}

export async function readValues(
  credentials: Credentials,
  service: string,
): Promise<Record<string, { id: string; version: number; data: Record<string, string> }>> {
  const { body } = await credentials.readFor(
    service,
    undefined,
    serviceDoes(service, 'getServiceCredentials'),
  )
  if (!body) throw new Error('the answer has no body')
  return JSON.parse(body.toString()).credentials
}
