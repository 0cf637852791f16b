/** The SQL of identity. Rows come out as they are stored; whether they are believed is the view's to decide. */
import type { Kysely, Selectable } from 'kysely'
import type { WriteOperation } from '../../platform/ledger/index.ts'
import type { Tables } from '../tables.ts'
import type { OperatorTokenRow, ServiceKeyRow } from './identity-keys.ts'

export interface Stored<Row> {
  readonly row: Row
  readonly mac: Buffer
}

/** One long query would hold up every flush of the embedded database. */
const pageSize = 2_000

export async function* allServiceKeys(
  db: Kysely<Tables>,
): AsyncGenerator<readonly Stored<ServiceKeyRow>[]> {
  let after: string | undefined
  for (;;) {
    let query = db.selectFrom('service_key').selectAll().orderBy('client_id').limit(pageSize)
    if (after !== undefined) query = query.where('client_id', '>', after)
    const rows = await query.execute()
    yield rows.map(toServiceKey)
    if (rows.length < pageSize) return
    after = rows.at(-1)?.client_id
  }
}

export async function serviceKeysById(
  db: Kysely<Tables>,
  clientIds: readonly string[],
): Promise<Stored<ServiceKeyRow>[]> {
  const found: Stored<ServiceKeyRow>[] = []
  for (let at = 0; at < clientIds.length; at += pageSize) {
    const rows = await db
      .selectFrom('service_key')
      .selectAll()
      .where('client_id', 'in', clientIds.slice(at, at + pageSize))
      .execute()
    found.push(...rows.map(toServiceKey))
  }
  return found
}

/**
 * There is one. More are a stranger's, and a hundred of them are enough to report; if they push the
 * true one off the page, he has shut the operator out, which he could do by deleting it too.
 */
const operatorTokensMax = 100

export async function allOperatorTokens(db: Kysely<Tables>): Promise<Stored<OperatorTokenRow>[]> {
  const rows = await db
    .selectFrom('operator_token')
    .selectAll()
    .orderBy('id', 'desc')
    .limit(operatorTokensMax)
    .execute()
  return rows.map((row) => ({
    row: { id: row.id, tokenHash: row.token_hash, createdAt: row.created_at },
    mac: row.mac,
  }))
}

function toServiceKey(row: Selectable<Tables['service_key']>): Stored<ServiceKeyRow> {
  return {
    row: {
      clientId: row.client_id,
      service: row.service,
      secretHash: row.secret_hash,
      createdAt: row.created_at,
      revokedAt: row.revoked_at,
    },
    mac: row.mac,
  }
}

/** Enough for an overlap in every zone of a rotation; a loop that makes keys hits it soon. */
export const liveKeysMax = 16

interface NewServiceKey {
  readonly clientId: string
  readonly service: string
  readonly secretHash: string
  readonly createdAt: string
  readonly mac: string
}

/** Guard: the service has room. Entries of one service never share a group, so the count is exact. */
export const insertServiceKey: WriteOperation<NewServiceKey> = {
  name: 'identity_insert_service_key',
  sql: `with r as (
      select * from jsonb_to_recordset($1::jsonb) as r(
        ord int, "clientId" uuid, service text, "secretHash" text, "createdAt" timestamptz, mac text)
    ), made as (
      insert into haus.service_key (client_id, service, secret_hash, created_at, mac)
      select r."clientId", r.service, decode(r."secretHash", 'base64'), r."createdAt", decode(r.mac, 'base64')
      from r
      where (
        select count(*) from haus.service_key k where k.service = r.service and k.revoked_at is null
      ) < ${liveKeysMax}
      returning client_id
    )
    select r.ord from r join made on made.client_id = r."clientId"`,
}

interface EndedServiceKey {
  readonly clientId: string
  readonly service: string
  readonly revokedAt: string
  readonly mac: string
}

/** Guard: it is there and live. */
export const endServiceKey: WriteOperation<EndedServiceKey> = {
  name: 'identity_end_service_key',
  sql: `update haus.service_key k set revoked_at = r."revokedAt", mac = decode(r.mac, 'base64')
    from jsonb_to_recordset($1::jsonb) as r(
      ord int, "clientId" uuid, service text, "revokedAt" timestamptz, mac text)
    where k.client_id = r."clientId" and k.service = r.service and k.revoked_at is null
    returning r.ord`,
}

/** No guard: what is gone already is as gone as it should be. */
export const forgetServiceKey: WriteOperation<{ readonly clientId: string }> = {
  name: 'identity_forget_service_key',
  sql: `with r as (
      select * from jsonb_to_recordset($1::jsonb) as r(ord int, "clientId" uuid)
    ), gone as (
      delete from haus.service_key k using r
      where k.client_id = r."clientId" and k.revoked_at is not null
    )
    select ord from r`,
}

interface NewOperatorToken {
  readonly id: string
  readonly tokenHash: string
  readonly createdAt: string
  readonly mac: string
}

/** The new one takes the place of all there are. */
export const replaceOperatorTokens: WriteOperation<NewOperatorToken> = {
  name: 'identity_replace_operator_tokens',
  sql: `with r as (
      select * from jsonb_to_recordset($1::jsonb) as r(
        ord int, id uuid, "tokenHash" text, "createdAt" timestamptz, mac text)
    ), gone as (
      delete from haus.operator_token where id not in (select id from r)
    ), made as (
      insert into haus.operator_token (id, token_hash, created_at, mac)
      select r.id, decode(r."tokenHash", 'base64'), r."createdAt", decode(r.mac, 'base64') from r
      returning id
    )
    select r.ord from r join made using (id)`,
}
