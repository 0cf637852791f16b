/** Identity on a real database with a ledger of its own, for tests. */
import { Writable } from 'node:stream'
import { systemRandom } from '../platform/crypto/index.ts'
import type { Caller, RequestContext } from '../platform/http/caller.ts'
import type { DatabaseKind } from '../platform/database/index.ts'
import { createLedger, type RunningLedger } from '../platform/ledger/index.ts'
import { createLog, type Log } from '../platform/log/log.ts'
import { systemClock } from '../platform/clock/clock.ts'
import { migrations } from '../migrations/index.ts'
import type { Tables } from '../features/tables.ts'
import {
  createIdentity,
  createIdentityView,
  openHouse,
  type House,
  type Identity,
  type IdentityView,
} from '../features/identity/index.ts'
import type { IdentityOptions } from '../features/identity/service.ts'
import { openTestDatabase, type TestDatabase } from './databases.ts'
import { ManualClock } from './manual-clock.ts'

export interface LogRecord {
  readonly level: string
  readonly msg: string
  readonly [field: string]: unknown
}

/** A log that can be read. */
export function recordLog(): { log: Log; records: LogRecord[] } {
  const records: LogRecord[] = []
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      records.push(JSON.parse(chunk.toString('utf8')) as LogRecord)
      done()
    },
  })
  return { log: createLog({ level: 'debug', format: 'json', destination }), records }
}

export interface TestIdentity extends AsyncDisposable {
  readonly database: TestDatabase<Tables>
  readonly clock: ManualClock
  readonly log: Log
  readonly records: LogRecord[]
  readonly house: House
  readonly view: IdentityView
  readonly ledger: RunningLedger
  readonly identity: Identity
  /** Stops this process's part and starts another over the same data. */
  restart(): Promise<TestIdentity>
}

/** Tests share the machine: none but the ledger's own is about its 250 ms. */
const patientMs = 30_000

export async function openTestIdentity(
  kind: DatabaseKind,
  existing?: TestDatabase<Tables>,
  limits?: IdentityOptions['limits'],
): Promise<TestIdentity> {
  const database = existing ?? (await openTestDatabase<Tables>(kind, { migrations }))
  const clock = new ManualClock()
  const { log, records } = recordLog()
  const { dataDir } = database.location
  const house = await openHouse({
    database,
    dataDir,
    rootKeyFile: `${dataDir}/root.key`,
    clock,
    random: systemRandom,
    log,
  })
  const view = createIdentityView({ house, db: database.db, log })
  const ledger = createLedger<Tables>({
    database,
    projections: [view],
    clock: systemClock,
    log,
    writeTimeoutMs: patientMs,
  })
  await ledger.start()
  const identity = await createIdentity({
    house,
    view,
    ledger,
    clock,
    random: systemRandom,
    log,
    dataDir,
    ...(limits && { limits }),
  })
  await identity.start()
  return {
    database,
    clock,
    log,
    records,
    house,
    view,
    ledger,
    identity,
    async restart() {
      await ledger.stop(1_000)
      return openTestIdentity(kind, await database.reopen(), limits)
    },
    async [Symbol.asyncDispose]() {
      await ledger.stop(1_000)
      await database.cleanup()
    },
  }
}

const operator: Caller = {
  kind: 'operator',
  actor: 'operator',
  service: null,
  expiresAtMonotonicMs: null,
  revoked: null,
}

export function contextOf(
  operation: string,
  { source = '192.0.2.1', caller = operator }: { source?: string; caller?: Caller } = {},
): RequestContext {
  return { caller, operation, requestId: '01933b6e-7c00-7000-8000-000000000004', source }
}
