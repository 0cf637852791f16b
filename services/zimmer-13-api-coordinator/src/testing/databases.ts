/**
 * The database matrix: a suite written as `for (const kind of databaseKinds)` runs on both kinds.
 *
 * Every call gives a database of its own that is already migrated: on PGlite a copy of a folder
 * migrated once in the run of tests, on PostgreSQL a clone of a template migrated once on the server.
 */
import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Client } from 'pg'
import type { HausError } from '@haus/contract'
import { hausSchema } from '../platform/database/database.ts'
import {
  migrate,
  openDatabase,
  type Database,
  type DatabaseKind,
  type Log,
  type Migration,
} from '../platform/database/index.ts'
import { needsPostgres, sharedServerUrl } from './postgres-database.ts'

export const databaseKinds: readonly DatabaseKind[] = ['embedded', 'postgres']

/** For what does not depend on the kind: opening an embedded one takes three times as long. */
export function quickestKind(): DatabaseKind {
  return needsPostgres().skip === undefined ? 'postgres' : 'embedded'
}

/** Options for `test()`: skipped with the reason where the kind cannot be had. */
export function needsDatabase(kind: DatabaseKind): { skip?: string } {
  return kind === 'postgres' ? needsPostgres() : {}
}

export interface TestDatabaseOptions {
  readonly migrations: Record<string, Migration>
  /** Silent by default. */
  readonly log?: Log
  /** By default the death of the engine fails the process, as it would in production. */
  readonly onFatal?: (error: HausError) => void
}

export interface TestDatabase<Tables> extends Database<Tables>, AsyncDisposable {
  /** What `openDatabase` was given, for tests that open it once more. */
  readonly location: { readonly url?: string; readonly dataDir: string }
  /** Closes this handle and opens the same data again. */
  reopen(): Promise<TestDatabase<Tables>>
  /** Closes it and deletes the data; safe to call twice. */
  cleanup(): Promise<void>
}

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }

export async function openTestDatabase<Tables>(
  kind: DatabaseKind,
  options: TestDatabaseOptions,
): Promise<TestDatabase<Tables>> {
  if (kind === 'embedded') {
    const emptied = idle?.findIndex(({ migrations }) => migrations === options.migrations) ?? -1
    const [again] = isPlain(options) && emptied >= 0 ? (idle?.splice(emptied, 1) ?? []) : []
    if (again)
      return asTestDatabase(again.database as unknown as Database<Tables>, again, options, noDrop)
    const dataDir = await cloneDataDir(options.migrations)
    return openAt<Tables>({ dataDir }, options, noDrop)
  }
  const { url, drop } = await cloneDatabase(options.migrations)
  return openAt<Tables>({ dataDir: temporaryFolder(), url }, options, drop)
}

/** A data folder with a migrated embedded database that nobody has open. The caller deletes it. */
export async function cloneDataDir(migrations: Record<string, Migration>): Promise<string> {
  const template = await embeddedTemplate(migrations)
  const dataDir = temporaryFolder()
  fs.cpSync(template, dataDir, { recursive: true, mode: fs.constants.COPYFILE_FICLONE })
  return dataDir
}

/** An open embedded database that a test is done with: its schema is as new, and so is its folder. */
interface Idle {
  readonly database: Database<unknown>
  readonly dataDir: string
  readonly migrations: Record<string, Migration>
}

/** Tests of a file run one after the other, and few open two at once. */
const idleMax = 2
let idle: Idle[] | undefined

/**
 * For a file of many small tests: `reuseDatabases(after)` at its top makes the embedded databases
 * pass from test to test, since opening one takes longer than most tests do. Between two tests the
 * schema is dropped and migrated anew and the connection replaced, so nothing is handed down.
 */
export function reuseDatabases(after: (closeAll: () => Promise<void>) => void): void {
  idle ??= []
  after(async () => {
    const closing = idle ?? []
    idle = undefined
    for (const { database, dataDir } of closing) {
      await database.close()
      fs.rmSync(dataDir, { recursive: true, force: true })
    }
  })
}

/** Only a handle that nobody else looks at may be handed on. */
function isPlain({ log, onFatal }: TestDatabaseOptions): boolean {
  return log === undefined && onFatal === undefined
}

/** False when the test has closed it, broken it, or still holds its connection. */
async function putAside(each: Idle): Promise<boolean> {
  if (idle === undefined || idle.length >= idleMax) return false
  const { database, dataDir, migrations } = each
  try {
    await database.pool.query(`drop schema ${hausSchema} cascade`)
    await migrate(database.db, migrations, { log: silentLog })
    const client = await database.pool.connect()
    client.release(true)
  } catch {
    return false
  }
  for (const name of fs.readdirSync(dataDir)) {
    if (name === 'database' || name === 'haus.lock') continue
    fs.rmSync(path.join(dataDir, name), { recursive: true })
  }
  idle.push(each)
  return true
}

const noDrop = (): Promise<void> => Promise.resolve()

async function openAt<Tables>(
  location: { readonly url?: string; readonly dataDir: string },
  options: TestDatabaseOptions,
  drop: () => Promise<void>,
): Promise<TestDatabase<Tables>> {
  const database = await openDatabase<Tables>({
    ...location,
    log: options.log ?? silentLog,
    onFatal:
      options.onFatal ??
      ((error) => {
        throw error
      }),
  })
  return asTestDatabase(database, location, options, drop)
}

function asTestDatabase<Tables>(
  database: Database<Tables>,
  location: { readonly url?: string; readonly dataDir: string },
  options: TestDatabaseOptions,
  drop: () => Promise<void>,
): TestDatabase<Tables> {
  const { dataDir } = location
  const { migrations } = options
  const mayPassOn = database.kind === 'embedded' && isPlain(options)
  const subscriptions: (() => Promise<void>)[] = []
  let cleaned: Promise<void> | undefined
  const cleanup = async (): Promise<void> => {
    if (mayPassOn) {
      for (const unsubscribe of subscriptions) await unsubscribe()
      const untyped = database as unknown as Database<unknown>
      if (await putAside({ database: untyped, dataDir, migrations })) return
    }
    await database.close()
    await drop()
    fs.rmSync(dataDir, { recursive: true, force: true })
  }
  const once = (): Promise<void> => (cleaned ??= cleanup())
  return {
    ...database,
    location,
    listen: async (channel, onNotify) => {
      const unsubscribe = await database.listen(channel, onNotify)
      subscriptions.push(unsubscribe)
      return unsubscribe
    },
    reopen: async () => {
      await database.close()
      return openAt<Tables>(location, options, drop)
    },
    cleanup: once,
    [Symbol.asyncDispose]: once,
  }
}

function temporaryFolder(): string {
  return fs.mkdtempSync(path.join(tmpdir(), 'haus-test-'))
}

// One template per list of migrations is the point. Of this process, unless the run has a folder for
// all of them (`scripts/test.ts` makes and deletes it): making one costs more than most tests do.
const embeddedTemplates = new WeakMap<object, Promise<string>>()

function embeddedTemplate(migrations: Record<string, Migration>): Promise<string> {
  const known = embeddedTemplates.get(migrations)
  if (known) return known
  const made = makeEmbeddedTemplate(migrations)
  embeddedTemplates.set(migrations, made)
  return made
}

async function makeEmbeddedTemplate(migrations: Record<string, Migration>): Promise<string> {
  const shared = process.env['HAUS_TEST_TEMPLATES']
  const finished = shared === undefined ? undefined : path.join(shared, fingerprint(migrations))
  if (finished !== undefined && fs.existsSync(finished)) return finished
  const dataDir = temporaryFolder()
  const deleteIt = (): void => fs.rmSync(dataDir, { recursive: true, force: true })
  process.once('exit', deleteIt)
  await migrateAt({ dataDir }, migrations)
  fs.rmSync(path.join(dataDir, 'haus.lock'), { force: true })
  if (finished === undefined) return dataDir
  try {
    // Renamed into place: whoever sees it sees all of it.
    fs.renameSync(dataDir, finished)
  } catch (error) {
    // Another file of the run was faster.
    if (!fs.existsSync(finished)) throw error
    deleteIt()
  }
  return finished
}

async function migrateAt(
  location: { readonly url?: string; readonly dataDir: string },
  migrations: Record<string, Migration>,
): Promise<void> {
  const database = await openDatabase({
    ...location,
    log: silentLog,
    onFatal: (error) => {
      throw error
    },
  })
  try {
    await migrate(database.db, migrations, { log: silentLog })
  } finally {
    await database.close()
  }
}

/** A migrated database on the server of this run. The caller drops it. */
export async function cloneDatabase(
  migrations: Record<string, Migration>,
): Promise<{ url: string; drop: () => Promise<void> }> {
  const server = await sharedServerUrl()
  const template = `template_${fingerprint(migrations)}`
  const name = `test_${randomBytes(8).toString('hex')}`
  const admin = new Client({ connectionString: server })
  await admin.connect()
  try {
    // Test files run in processes of their own and share the server; the first one makes the template.
    await admin.query('select pg_advisory_lock(hashtext($1))', [template])
    const found = await admin.query('select 1 from pg_database where datname = $1', [template])
    if (found.rowCount === 0) {
      const unfinished = `${template}_new`
      await admin.query(`drop database if exists ${unfinished} with (force)`)
      await admin.query(`create database ${unfinished} template template0`)
      await migrateAt({ url: databaseUrl(server, unfinished), dataDir: tmpdir() }, migrations)
      await admin.query(`alter database ${unfinished} rename to ${template}`)
    }
    // Without it every page of the template goes through the log: 25 ms of processor time instead of 14.
    await admin.query(`create database ${name} template ${template} strategy file_copy`)
  } finally {
    await admin.end()
  }
  return {
    url: databaseUrl(server, name),
    drop: async () => {
      const client = new Client({ connectionString: server })
      await client.connect()
      await client.query(`drop database if exists ${name} with (force)`)
      await client.end()
    },
  }
}

/** Changes with the names and the code of the migrations: a server may outlive an edit. */
function fingerprint(migrations: Record<string, Migration>): string {
  const hash = createHash('sha256')
  for (const [name, { up }] of Object.entries(migrations)) hash.update(`${name}\0${String(up)}\0`)
  return hash.digest('hex').slice(0, 24)
}

function databaseUrl(server: string, name: string): string {
  const url = new URL(server)
  url.pathname = `/${name}`
  return url.href
}
