/** The tables of the first release. Append-only from the first release on: what has shipped is never edited. */
import { sql, type Kysely } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements = [
  // Who this house is. The row is written together with the root key's check.
  `create table haus.house (
    id int primary key default 1 check (id = 1),
    house_id uuid not null,
    key_check bytea not null,
    created_at timestamptz not null default now()
  )`,

  // Ledger
  `create table haus.ledger_head (
    id int primary key default 1 check (id = 1),
    last_event bigint not null,
    last_audit bigint not null
  )`,
  `insert into haus.ledger_head values (1, 0, 0)`,
  `create table haus.ledger_event (
    index bigint primary key,
    time timestamptz not null,
    type text not null,
    subject text not null,
    service text,
    data jsonb not null
  )`,
  // The primary key is its only index, because every read of a secret inserts here: with (target, id)
  // and (actor, id) besides, PGlite took 19,000 rows a second instead of 70,000, PostgreSQL 48,000
  // instead of 110,000, and a row made 514 bytes of WAL instead of 294. A filtered page looks at
  // 10,000 records at most, which is 13 ms and 2 ms.
  `create table haus.audit (
    id bigint primary key,
    time timestamptz not null,
    actor text not null,
    action text not null,
    target text not null,
    outcome text not null,
    code text,
    source text,
    request_id text,
    detail jsonb not null
  )`,

  // Identity
  `create table haus.operator_token (
    id uuid primary key,
    token_hash bytea not null,
    created_at timestamptz not null,
    mac bytea not null
  )`,
  `create table haus.service_key (
    client_id uuid primary key,
    service text not null,
    secret_hash bytea not null,
    created_at timestamptz not null,
    revoked_at timestamptz,
    mac bytea not null
  )`,
  `create index service_key_service on haus.service_key (service, client_id)`,

  // Credentials
  `create table haus.key_encryption_key (
    version int primary key,
    wrapped bytea not null,
    created_at timestamptz not null
  )`,
  `create table haus.credential (
    id uuid primary key,
    name text not null,
    current_version int not null,
    revision int not null,
    grants_revision int not null,
    description text,
    expires_at timestamptz,
    cache_ttl_seconds int not null,
    value_names text[] not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    mac bytea not null
  )`,
  // A deleted credential keeps its row; its name is free again.
  `create unique index credential_name on haus.credential (name) where deleted_at is null`,
  // Finds the longest deleted, which make room for the newly deleted.
  `create index credential_deleted on haus.credential (deleted_at) where deleted_at is not null`,
  `create table haus.credential_version (
    credential_id uuid not null references haus.credential (id),
    version int not null,
    kek_version int not null references haus.key_encryption_key (version),
    wrapped_key bytea not null,
    blob bytea not null,
    created_at timestamptz not null,
    primary key (credential_id, version)
  )`,
  `create table haus.credential_grant (
    credential_id uuid not null references haus.credential (id),
    service text not null,
    created_at timestamptz not null,
    mac bytea not null,
    primary key (credential_id, service)
  )`,

  // Registry
  `create table haus.service (
    name text primary key,
    aliases text[] not null default '{}',
    dependencies text[] not null default '{}',
    endpoints jsonb not null default '[]',
    revision int not null default 1,
    modified_index bigint not null,
    created_at timestamptz not null
  )`,
  `create table haus.service_config (
    service text primary key,
    version int not null,
    data jsonb not null,
    updated_at timestamptz not null
  )`,
  // No foreign key to service: both rows come with one entry, whose statements have no order, and
  // the check would cost a row lock per registration. A service is deleted only by a write whose
  // guard is that it has no instance.
  `create table haus.instance (
    id uuid primary key,
    service text not null,
    incarnation int not null,
    version text not null,
    address text not null,
    port int not null,
    scheme text not null,
    health_endpoint text,
    state text not null,
    reason text,
    weight int not null,
    zone text,
    tags text[] not null,
    metadata jsonb not null,
    leased boolean not null,
    draining boolean not null,
    maintenance boolean not null,
    revision int not null,
    modified_index bigint not null,
    registered_at timestamptz not null,
    state_changed_at timestamptz not null,
    last_seen_at timestamptz not null,
    unique (service, address, port)
  )`,
]
