/** The only SQL of the gateway: guarded writes of published routes, and one read of all of them. */
import type { Kysely } from 'kysely'
import type { WriteOperation } from '../../platform/ledger/index.ts'
import type { Tables } from '../tables.ts'
import type { PublishedRoute } from './published-route.ts'

const columns = `ord int, id uuid, host text, "pathPrefix" text, methods jsonb, service text,
  "stripPrefix" boolean, "bodyMaxBytes" bigint, "retryIdempotencyKey" boolean, revision int,
  "createdAt" timestamptz, "updatedAt" timestamptz`
/** Null becomes the empty text, because null is equal to nothing in a unique index. */
const host = `coalesce(r.host, '')`
const methods = `case when jsonb_typeof(r.methods) = 'array'
  then (select string_agg(m, ',' order by place)
    from jsonb_array_elements_text(r.methods) with ordinality as e(m, place))
  else '' end`

/** Loses its guard when another route publishes the same. */
export const insertRoute: WriteOperation<PublishedRoute> = {
  name: 'gateway_route.insert',
  sql: `
    with r as (select * from jsonb_to_recordset($1) as r(${columns})),
    made as (
      insert into haus.gateway_route (id, host, path_prefix, methods, service, strip_prefix,
        body_max_bytes, retry_idempotency_key, revision, created_at, updated_at)
      select id, ${host}, "pathPrefix", ${methods}, service, "stripPrefix", "bodyMaxBytes",
        "retryIdempotencyKey", revision, "createdAt", "updatedAt"
      from r
      on conflict do nothing
      returning id
    )
    select r.ord from made join r using (id)`,
}

/** Loses its guard when the row is not the one that was read, or another publishes the same. */
export const updateRoute: WriteOperation<PublishedRoute> = {
  name: 'gateway_route.update',
  sql: `
    update haus.gateway_route g set host = ${host}, path_prefix = r."pathPrefix",
      methods = ${methods}, service = r.service, strip_prefix = r."stripPrefix",
      body_max_bytes = r."bodyMaxBytes", retry_idempotency_key = r."retryIdempotencyKey",
      revision = r.revision, updated_at = r."updatedAt"
    from jsonb_to_recordset($1) as r(${columns})
    where g.id = r.id and g.revision = r.revision - 1 and not exists (
      select from haus.gateway_route o where o.id <> r.id and o.host = ${host}
        and o.path_prefix = r."pathPrefix" and o.methods = ${methods})
    returning r.ord`,
}

/** Idempotent: what is not there is not missed. */
export const deleteRoute: WriteOperation<{ readonly id: string }> = {
  name: 'gateway_route.delete',
  sql: `
    with r as (select * from jsonb_to_recordset($1) as r(ord int, id uuid)),
    gone as (delete from haus.gateway_route g using r where g.id = r.id)
    select ord from r`,
}

/** At most `publishedRoutesMax` rows: one page. */
export async function loadRoutes(db: Kysely<Tables>): Promise<PublishedRoute[]> {
  const rows = await db.selectFrom('gateway_route').selectAll().orderBy('id').execute()
  return rows.map((row) => ({
    id: row.id,
    host: row.host === '' ? null : row.host,
    pathPrefix: row.path_prefix,
    methods: row.methods === '' ? null : row.methods.split(','),
    service: row.service,
    stripPrefix: row.strip_prefix,
    bodyMaxBytes: row.body_max_bytes,
    retryIdempotencyKey: row.retry_idempotency_key,
    revision: row.revision,
    createdAt: row.created_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
  }))
}
