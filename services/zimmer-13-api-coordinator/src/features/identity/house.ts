/**
 * Opening the house: the root key and the row that proves it is the right one.
 *
 *   house row   key file      what happens
 *   no          no, or empty  key file made, then operator token file, then both rows in one commit
 *   no          yes           used: a crash came between the file and the commit, or it was given
 *   yes         right         opens
 *   yes         no            refused: root_key_missing
 *   yes         another       refused: root_key_wrong
 *
 * All of the first line happens under an advisory lock that is taken before the file is made, so
 * that of several processes over one database exactly one makes a key. The files are durable
 * before the rows, since a row without its key is a house that nobody can open. A key file is
 * never removed or replaced here unless it is empty.
 */
import { mkdir } from 'node:fs/promises'
import { HausError } from '@haus/contract'
import { sql, type Kysely, type Transaction } from 'kysely'
import type { Clock } from '../../platform/clock/clock.ts'
import { deriveKey, equalBytes, mac, type Key, type Random } from '../../platform/crypto/index.ts'
import type { Database } from '../../platform/database/index.ts'
import type { Log } from '../../platform/log/log.ts'
import type { Tables } from '../tables.ts'
import { deriveIdentityKeys, hashOperatorToken, macOfOperatorToken } from './identity-keys.ts'
import { provideOperatorToken } from './operator-token.ts'
import { fileTrouble, removeLeftovers } from '../../platform/files/private-file.ts'
import { makeRootKey, readRootKey } from './root-key.ts'

export interface House {
  readonly houseId: string
  /** Bound to the house id: every key derived from it is this house's alone. */
  readonly rootKey: Key
  /** Made by this call. */
  readonly isNew: boolean
  /** False: it was made before aliases carried a MAC, and `sealRowsOfBefore` has not run yet. */
  readonly isSealed: boolean
}

interface OpenHouseOptions {
  readonly database: Database<Tables>
  readonly dataDir: string
  readonly rootKeyFile: string
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** Any constant does, as long as it never changes and is not the migrations'. */
const advisoryLockKey = 4_874_713_000_014
/** Making a house takes two files and one commit; a holder that takes longer is stuck. */
const lockTimeout = '30s'

export async function openHouse(options: OpenHouseOptions): Promise<House> {
  const { database, dataDir, rootKeyFile, log } = options
  await prepareFolder(dataDir)
  const known = await findHouse(database.db)
  const house = known ? await unlock(known, options) : await makeOrJoin(options)
  await removeLeftovers(rootKeyFile).catch((error: unknown) =>
    // A read-only mount has none.
    log.debug({ err: error }, 'the folder of the root key was not cleaned'),
  )
  return house
}

async function prepareFolder(dataDir: string): Promise<void> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw fileTrouble(`${dataDir}/`, error)
  }
}

interface HouseRow {
  readonly house_id: string
  readonly key_check: Buffer
}

function findHouse(db: Kysely<Tables>): Promise<HouseRow | undefined> {
  return db.selectFrom('house').select(['house_id', 'key_check']).executeTakeFirst()
}

async function unlock(row: HouseRow, { rootKeyFile, log }: OpenHouseOptions): Promise<House> {
  const found = await readRootKey(rootKeyFile, log)
  if (found === 'missing' || found === 'empty') {
    throw new HausError(
      'root_key_missing',
      `the root key file ${rootKeyFile} is ${found}, and the database belongs to a house that has one: put that file back from your backup, or copy it from the replica that opened the house first`,
    )
  }
  const rootKey = bindToHouse(found.key, row.house_id)
  const isSealed = equalBytes(row.key_check, keyCheckOf(rootKey, row.house_id))
  if (!isSealed && !equalBytes(row.key_check, keyCheckOfBefore(rootKey, row.house_id))) {
    throw new HausError(
      'root_key_wrong',
      `the root key in ${rootKeyFile} is not the one of the house in this database: put the right file back from your backup, or copy it from the replica that opened the house first`,
    )
  }
  return { houseId: row.house_id, rootKey, isNew: false, isSealed }
}

function bindToHouse(fileKey: Key, houseId: string): Key {
  return deriveKey(fileKey, 'haus/house/v1', Buffer.from(houseId))
}

/** Says too that rows without a MAC are no longer taken; without the root key nobody can take that back. */
function keyCheckOf(rootKey: Key, houseId: string): Buffer {
  return mac(deriveKey(rootKey, 'haus/root-key-check/v2'), 'house', houseId)
}

function keyCheckOfBefore(rootKey: Key, houseId: string): Buffer {
  return mac(deriveKey(rootKey, 'haus/root-key-check/v1'), 'house', houseId)
}

/**
 * Rows that were written before their MAC existed are taken as they are, once: `seal` gives them
 * one, in the commit that also changes the key check. A house that was made later never does it.
 */
export async function sealRowsOfBefore(
  { houseId, rootKey, isSealed }: House,
  db: Kysely<Tables>,
  seal: (trx: Transaction<Tables>) => Promise<void>,
): Promise<void> {
  if (isSealed) return
  const sealed = keyCheckOf(rootKey, houseId)
  await db.transaction().execute(async (trx) => {
    const row = await trx.selectFrom('house').select('key_check').forUpdate().executeTakeFirst()
    // Another process was faster.
    if (row !== undefined && equalBytes(row.key_check, sealed)) return
    await seal(trx)
    await trx.updateTable('house').set({ key_check: sealed }).execute()
  })
}

function makeOrJoin(options: OpenHouseOptions): Promise<House> {
  return options.database.db.transaction().execute(async (trx) => {
    await sql`select set_config('lock_timeout', ${lockTimeout}, true)`.execute(trx)
    await sql`select pg_advisory_xact_lock(${advisoryLockKey})`.execute(trx)
    const winner = await findHouse(trx)
    if (winner) return unlock(winner, options)
    await refuseRemains(trx)
    return make(trx, options)
  })
}

/** A database with content and no house row is damaged; a new key over it would bury the content. */
async function refuseRemains(trx: Transaction<Tables>): Promise<void> {
  const token = await trx.selectFrom('operator_token').select('id').limit(1).executeTakeFirst()
  const head = await trx
    .selectFrom('ledger_head')
    .select(['last_event', 'last_audit'])
    .executeTakeFirst()
  if (token === undefined && head?.last_event === 0 && head.last_audit === 0) return
  throw new HausError(
    'database_corrupt',
    'the database holds a house whose own row (haus.house) is missing: restore a backup',
  )
}

async function make(trx: Transaction<Tables>, options: OpenHouseOptions): Promise<House> {
  const { dataDir, rootKeyFile, clock, random, log } = options
  const found = await readRootKey(rootKeyFile, log)
  const fileKey =
    typeof found === 'string' ? await makeRootKey(rootKeyFile, found, random, log) : found.key
  const token = await provideOperatorToken(dataDir, random)

  const houseId = random.id()
  const rootKey = bindToHouse(fileKey, houseId)
  const keys = deriveIdentityKeys(rootKey)
  const createdAt = clock.now()
  const row = {
    id: random.id(),
    tokenHash: hashOperatorToken(keys, token.reveal()),
    createdAt,
  }
  await trx
    .insertInto('house')
    .values({ house_id: houseId, key_check: keyCheckOf(rootKey, houseId), created_at: createdAt })
    .execute()
  await trx
    .insertInto('operator_token')
    .values({
      id: row.id,
      token_hash: row.tokenHash,
      created_at: createdAt,
      mac: macOfOperatorToken(keys, row),
    })
    .execute()
  return { houseId, rootKey, isNew: true, isSealed: true }
}
