/** Published routes, and who may call a service through the gateway. */
import { sql, type Kysely } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements = [
  // Null: every service may.
  `alter table haus.service add column callers text[]`,
  // One row per host, prefix and set of methods: two that publish the same would leave it open
  // which one serves.
  `create table haus.gateway_route (
    id uuid primary key,
    host text not null,
    path_prefix text not null,
    methods text not null,
    service text not null,
    strip_prefix boolean not null,
    body_max_bytes bigint not null,
    retry_idempotency_key boolean not null,
    revision int not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (host, path_prefix, methods)
  )`,
]
