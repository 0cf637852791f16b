/**
 * The only SQL of credentials. Reads are single statements, so that a credential and its grants
 * are of one moment; writes are guarded operations of the ledger.
 */
import { sql, type Kysely } from 'kysely'
import { write, type Write, type WriteOperation } from '../../platform/ledger/ledger.ts'
import type { Tables } from '../tables.ts'
import type { SealedVersion } from './envelope.ts'
import type { CredentialColumns } from './row-authentication.ts'

type Db = Kysely<Tables>

/** A row as it is found. Nothing of it is to be believed before its MAC has been checked. */
export interface StoredCredential {
  readonly columns: CredentialColumns
  readonly mac: Buffer
  readonly grants: readonly { readonly service: string; readonly mac: Buffer }[]
  /** Null: not one version is stored. */
  readonly newestVersion: number | null
}

export interface StoredVersion extends SealedVersion {
  readonly credentialId: string
  readonly version: number
}

interface CredentialRow {
  id: string
  name: string
  current_version: number
  revision: number
  grants_revision: number
  description: string | null
  expires_at: Date | null
  cache_ttl_seconds: number
  value_names: string[]
  created_at: Date
  updated_at: Date
  deleted_at: Date | null
  mac: Buffer
  newest_version: number | null
  grants: { service: string; mac: string }[]
}

const selectCredentials = sql`
  select c.*,
    (select max(v.version) from haus.credential_version v where v.credential_id = c.id) as newest_version,
    coalesce(
      (select jsonb_agg(jsonb_build_object('service', g.service, 'mac', encode(g.mac, 'hex')))
       from haus.credential_grant g where g.credential_id = c.id),
      '[]') as grants
  from haus.credential c`

/** Deleted ones too: whether they are is what the MAC tells. */
export async function loadPage(
  db: Db,
  afterId: string,
  limit: number,
): Promise<StoredCredential[]> {
  const { rows } = await sql<CredentialRow>`
    ${selectCredentials} where c.id > ${afterId}::uuid order by c.id limit ${limit}`.execute(db)
  return rows.map(storedCredential)
}

export const beforeAllIds = '00000000-0000-0000-0000-000000000000'

export async function loadByIds(db: Db, ids: readonly string[]): Promise<StoredCredential[]> {
  const { rows } = await sql<CredentialRow>`
    ${selectCredentials} where c.id = any(${[...ids]}::uuid[])`.execute(db)
  return rows.map(storedCredential)
}

function storedCredential(row: CredentialRow): StoredCredential {
  return {
    columns: {
      id: row.id,
      name: row.name,
      version: row.current_version,
      revision: row.revision,
      grantsRevision: row.grants_revision,
      description: row.description,
      expiresAt: row.expires_at,
      cacheTtlSeconds: row.cache_ttl_seconds,
      keys: row.value_names,
      createdAt: row.created_at,
      updatedAt: row.updated_at,
      deletedAt: row.deleted_at,
    },
    mac: row.mac,
    grants: row.grants.map(({ service, mac }) => ({ service, mac: Buffer.from(mac, 'hex') })),
    newestVersion: row.newest_version,
  }
}

export interface VersionRef {
  readonly id: string
  readonly version: number
}

export async function loadVersions(db: Db, refs: readonly VersionRef[]): Promise<StoredVersion[]> {
  const ids = refs.map(({ id }) => id)
  const versions = refs.map(({ version }) => version)
  const { rows } = await sql<{
    credential_id: string
    version: number
    kek_version: number
    wrapped_key: Buffer
    blob: Buffer
  }>`
    select v.credential_id, v.version, v.kek_version, v.wrapped_key, v.blob
    from unnest(${ids}::uuid[], ${versions}::int[]) as r(id, version)
    join haus.credential_version v on v.credential_id = r.id and v.version = r.version`.execute(db)
  return rows.map((row) => ({
    credentialId: row.credential_id,
    version: row.version,
    kekVersion: row.kek_version,
    wrappedKey: row.wrapped_key,
    blob: row.blob,
  }))
}

export interface StoredKek {
  readonly version: number
  readonly wrapped: Buffer
}

export async function loadKek(db: Db, version: number): Promise<StoredKek | undefined> {
  return db
    .selectFrom('key_encryption_key')
    .select(['version', 'wrapped'])
    .where('version', '=', version)
    .executeTakeFirst()
}

export async function loadNewestKek(db: Db): Promise<StoredKek | undefined> {
  return db
    .selectFrom('key_encryption_key')
    .select(['version', 'wrapped'])
    .orderBy('version', 'desc')
    .limit(1)
    .executeTakeFirst()
}

const insertKekOperation: WriteOperation<{ version: number; wrapped: string; at: string }> = {
  name: 'credentials_insert_kek',
  sql: `with r as (
      select * from jsonb_to_recordset($1::jsonb) as r(ord int, version int, wrapped text, at timestamptz)
    ), made as (
      insert into haus.key_encryption_key (version, wrapped, created_at)
      select version, decode(wrapped, 'base64'), at from r
      on conflict (version) do nothing
      returning version
    )
    select r.ord from r join made using (version)`,
}

/** Loses its guard when another process has made that version. */
export function insertKek(kek: StoredKek, at: Date): Write {
  return write(insertKekOperation, {
    version: kek.version,
    wrapped: kek.wrapped.toString('base64'),
    at: at.toISOString(),
  })
}

interface CredentialWrite {
  id: string
  name: string
  current_version: number
  revision: number
  grants_revision: number
  description: string | null
  expires_at: string | null
  cache_ttl_seconds: number
  value_names: readonly string[]
  created_at: string
  updated_at: string
  deleted_at: string | null
  mac: string
}

const credentialColumnTypes = `id uuid, name text, current_version int, revision int,
  grants_revision int, description text, expires_at timestamptz, cache_ttl_seconds int,
  value_names text[], created_at timestamptz, updated_at timestamptz, deleted_at timestamptz, mac text`

function credentialWrite(columns: CredentialColumns, mac: Buffer): CredentialWrite {
  return {
    id: columns.id,
    name: columns.name,
    current_version: columns.version,
    revision: columns.revision,
    grants_revision: columns.grantsRevision,
    description: columns.description,
    expires_at: columns.expiresAt?.toISOString() ?? null,
    cache_ttl_seconds: columns.cacheTtlSeconds,
    value_names: columns.keys,
    created_at: columns.createdAt.toISOString(),
    updated_at: columns.updatedAt.toISOString(),
    deleted_at: columns.deletedAt?.toISOString() ?? null,
    mac: mac.toString('base64'),
  }
}

const insertCredentialOperation: WriteOperation<CredentialWrite> = {
  name: 'credentials_insert',
  sql: `with r as (
      select * from jsonb_to_recordset($1::jsonb) as r(ord int, ${credentialColumnTypes})
    ), made as (
      insert into haus.credential (id, name, current_version, revision, grants_revision, description,
        expires_at, cache_ttl_seconds, value_names, created_at, updated_at, deleted_at, mac)
      select id, name, current_version, revision, grants_revision, description,
        expires_at, cache_ttl_seconds, value_names, created_at, updated_at, deleted_at,
        decode(mac, 'base64')
      from r
      on conflict (name) where deleted_at is null do nothing
      returning id
    )
    select r.ord from r join made using (id)`,
}

/** Loses its guard when the name is taken. */
export function insertCredential(columns: CredentialColumns, mac: Buffer): Write {
  return write(insertCredentialOperation, credentialWrite(columns, mac))
}

/** Every column that can change is written, so that an update also undoes a stranger's edit. */
const updateCredentialOperation: WriteOperation<CredentialWrite> = {
  name: 'credentials_update',
  sql: `update haus.credential c set
      current_version = r.current_version, revision = r.revision,
      grants_revision = r.grants_revision, description = r.description, expires_at = r.expires_at,
      cache_ttl_seconds = r.cache_ttl_seconds, value_names = r.value_names,
      updated_at = r.updated_at, deleted_at = r.deleted_at, mac = decode(r.mac, 'base64')
    from jsonb_to_recordset($1::jsonb) as r(ord int, ${credentialColumnTypes})
    where c.id = r.id and c.revision = r.revision - 1 and c.deleted_at is null
    returning r.ord`,
}

/** Loses its guard unless the stored revision is the one before. */
export function updateCredential(columns: CredentialColumns, mac: Buffer): Write {
  return write(updateCredentialOperation, credentialWrite(columns, mac))
}

const insertVersionOperation: WriteOperation<{
  id: string
  version: number
  kek_version: number
  wrapped_key: string
  blob: string
  at: string
}> = {
  name: 'credentials_insert_version',
  sql: `with r as (
      select * from jsonb_to_recordset($1::jsonb)
        as r(ord int, id uuid, version int, kek_version int, wrapped_key text, blob text, at timestamptz)
    ), made as (
      insert into haus.credential_version (credential_id, version, kek_version, wrapped_key, blob, created_at)
      select id, version, kek_version, decode(wrapped_key, 'base64'), decode(blob, 'base64'), at
      from r
      on conflict do nothing
      returning credential_id, version
    )
    select r.ord from r join made on made.credential_id = r.id and made.version = r.version`,
}

/** Loses its guard when that version is there already. */
export function insertVersion(ref: VersionRef, sealed: SealedVersion, at: Date): Write {
  return write(insertVersionOperation, {
    id: ref.id,
    version: ref.version,
    kek_version: sealed.kekVersion,
    wrapped_key: sealed.wrappedKey.toString('base64'),
    blob: sealed.blob.toString('base64'),
    at: at.toISOString(),
  })
}

const pruneVersionsOperation: WriteOperation<{ id: string; upTo: number }> = {
  name: 'credentials_prune_versions',
  sql: `with r as (
      select * from jsonb_to_recordset($1::jsonb) as r(ord int, id uuid, "upTo" int)
    ), gone as (
      delete from haus.credential_version v using r
      where v.credential_id = r.id and v.version <= r."upTo"
    )
    select ord from r`,
}

export function pruneVersions(id: string, upTo: number): Write {
  return write(pruneVersionsOperation, { id, upTo })
}

export interface GrantWrite {
  readonly service: string
  readonly mac: Buffer
}

const replaceGrantsOperation: WriteOperation<{
  id: string
  at: string
  grants: { service: string; mac: string }[]
}> = {
  name: 'credentials_replace_grants',
  sql: `with r as (
      select * from jsonb_to_recordset($1::jsonb) as r(ord int, id uuid, at timestamptz, grants jsonb)
    ), wanted as (
      select r.id, r.at, g.service, decode(g.mac, 'base64') as mac
      from r cross join lateral jsonb_to_recordset(r.grants) as g(service text, mac text)
    ), gone as (
      delete from haus.credential_grant g using r
      where g.credential_id = r.id
        and not exists (select from wanted w where w.id = g.credential_id and w.service = g.service)
    ), made as (
      insert into haus.credential_grant as g (credential_id, service, created_at, mac)
      select id, service, at, mac from wanted
      on conflict (credential_id, service) do update set mac = excluded.mac
    )
    select ord from r`,
}

/** The set as it is to be; a grant that stays keeps its date. */
export function replaceGrants(id: string, grants: readonly GrantWrite[], at: Date): Write {
  return write(replaceGrantsOperation, {
    id,
    at: at.toISOString(),
    grants: grants.map(({ service, mac }) => ({ service, mac: mac.toString('base64') })),
  })
}

const forgetDeletedOperation: WriteOperation<{ keep: number }> = {
  name: 'credentials_forget_deleted',
  sql: `with r as (
      select * from jsonb_to_recordset($1::jsonb) as r(ord int, keep int)
    ), old as (
      select id from haus.credential where deleted_at is not null
      order by deleted_at desc offset (select min(keep) from r)
    ), versions as (
      delete from haus.credential_version where credential_id in (select id from old)
    ), grants as (
      delete from haus.credential_grant where credential_id in (select id from old)
    ), credentials as (
      delete from haus.credential where id in (select id from old)
    )
    select ord from r`,
}

/** Makes room: beyond `keep` deleted credentials the longest deleted go for good. */
export function forgetDeleted(keep: number): Write {
  return write(forgetDeletedOperation, { keep })
}

const removeRowsOperation: WriteOperation<{ id: string; mac: string }> = {
  name: 'credentials_remove_rows',
  sql: `with r as (
      select r.ord, c.id from jsonb_to_recordset($1::jsonb) as r(ord int, id uuid, mac text)
      join haus.credential c on c.id = r.id and c.mac = decode(r.mac, 'base64')
    ), versions as (
      delete from haus.credential_version where credential_id in (select id from r)
    ), grants as (
      delete from haus.credential_grant where credential_id in (select id from r)
    ), credentials as (
      delete from haus.credential where id in (select id from r)
    )
    select ord from r`,
}

/** Loses its guard when the row has changed since it was seen. */
export function removeRows(id: string, mac: Buffer): Write {
  return write(removeRowsOperation, { id, mac: mac.toString('base64') })
}
