/**
 * The only SQL of the registry: guarded writes that many entries of a group share, and paged reads.
 *
 * The rows of a write are the records themselves. Guards compare the revision, so that a change
 * that was made from an old view is refused and not merged.
 */
import { sql, type Kysely } from 'kysely'
import type { WriteOperation } from '../../platform/ledger/ledger.ts'
import type { Tables } from '../tables.ts'
import type { AliasSeal } from './aliases.ts'
import {
  isInstanceState,
  type ConfigRecord,
  type EndpointRecord,
  type InstanceRecord,
  type ServiceRecord,
} from './records.ts'

/** Loads page by page: on PGlite one long query holds up every flush. */
const pageRows = 1_000

const instanceColumns = `ord int, index bigint, id uuid, service text, incarnation int, revision int,
  version text, address text, port int, scheme text, "healthEndpoint" text, state text, reason text,
  weight int, zone text, tags text[], metadata jsonb, leased boolean, draining boolean,
  maintenance boolean, "registeredAt" timestamptz, "stateChangedAt" timestamptz`

const putInstanceSql = (condition: string): string => `
    with r as (select * from json_to_recordset($1) as r(${instanceColumns})),
    written as (
      insert into haus.instance as i (id, service, incarnation, revision, version, address, port,
        scheme, health_endpoint, state, reason, weight, zone, tags, metadata, leased, draining,
        maintenance, registered_at, state_changed_at, last_seen_at, modified_index)
      select id, service, incarnation, revision, version, address, port,
        scheme, "healthEndpoint", state, reason, weight, zone, tags, metadata, leased, draining,
        maintenance, "registeredAt", "stateChangedAt", "registeredAt", index
      from r ${condition}
      on conflict (service, address, port) do update set
        incarnation = excluded.incarnation, revision = excluded.revision,
        version = excluded.version, scheme = excluded.scheme,
        health_endpoint = excluded.health_endpoint, state = excluded.state,
        reason = excluded.reason, weight = excluded.weight, zone = excluded.zone,
        tags = excluded.tags, metadata = excluded.metadata, leased = excluded.leased,
        draining = excluded.draining, maintenance = excluded.maintenance,
        registered_at = excluded.registered_at, state_changed_at = excluded.state_changed_at,
        last_seen_at = excluded.last_seen_at, modified_index = excluded.modified_index
      where i.id = excluded.id and i.revision = excluded.revision - 1
      returning id
    )
    select r.ord from written join r using (id)`

/**
 * A new instance, or a new start of a known one, in an entry that writes its service too; refused
 * when the row is not the one that was read.
 */
export const putInstance: WriteOperation<InstanceRecord> = {
  name: 'instance.put',
  sql: putInstanceSql(''),
}

/** The same for a service that stands as it is: refused when it has been forgotten meanwhile. */
export const joinInstance: WriteOperation<InstanceRecord> = {
  name: 'instance.join',
  sql: putInstanceSql('where service in (select name from haus.service)'),
}

/** State, weight and the operator's flags of an instance that is still the one that was read. */
export const updateInstance: WriteOperation<InstanceRecord> = {
  name: 'instance.update',
  sql: `
    update haus.instance i set revision = r.revision, state = r.state, reason = r.reason,
      weight = r.weight, draining = r.draining, maintenance = r.maintenance,
      state_changed_at = r."stateChangedAt", modified_index = r.index
    from json_to_recordset($1) as r(${instanceColumns})
    where i.id = r.id and i.incarnation = r.incarnation and i.revision = r.revision - 1
    returning r.ord`,
}

/** Without a guard it removes whatever is there, and nothing if nothing is: removal is idempotent. */
interface InstanceRemoval {
  readonly id: string
  readonly service: string
  /** Only if nothing has changed since. */
  readonly revision: number | null
  /** Only this start or one before it. */
  readonly incarnation: number | null
  /** Only if no process of the house has heard of it for so long, by the database's clock. */
  readonly silentSeconds: number | null
}

/**
 * The service remembers the index of the removal, because the row that would is gone: without it
 * the index of a service could go back after a restart.
 */
export const removeInstance: WriteOperation<InstanceRemoval> = {
  name: 'instance.remove',
  sql: `
    with r as (
      select * from jsonb_to_recordset($1)
        as r(ord int, index bigint, id uuid, service text, revision int, incarnation int,
          "silentSeconds" int)
    ),
    removed as (
      delete from haus.instance i using r
      where i.id = r.id and (r.revision is null or i.revision = r.revision)
        and (r.incarnation is null or i.incarnation <= r.incarnation)
        and (r."silentSeconds" is null
          or i.last_seen_at <= now() - make_interval(secs => r."silentSeconds"))
      returning i.id
    ),
    counted as (
      select r.* from r
      where (r.revision is null and r.incarnation is null) or r.id in (select id from removed)
    ),
    touched as (
      update haus.service s set modified_index = greatest(s.modified_index, c.index)
      from (select service, max(index) as index from counted group by service) c
      where s.name = c.service
    )
    select ord from counted`,
}

const serviceColumns = `ord int, index bigint, name text, aliases text[], "aliasesMac" text, callers text[],
  dependencies text[], endpoints jsonb, "healthIntervalSeconds" int, revision int,
  "createdAt" timestamptz`

/**
 * A new service, or new dependencies, endpoints and pace of checks of a known one. Its name must not be an alias.
 * A later revision does not make a row: the service has been forgotten since it was read.
 *
 * `greatest`, here and wherever the index of a service is written: the statements of a group run by
 * kind, so a removal with a higher index may have touched the row before, and an index never goes back.
 */
export const putService: WriteOperation<ServiceRecord> = {
  name: 'service.put',
  sql: `
    with r as (select * from jsonb_to_recordset($1) as r(${serviceColumns})),
    written as (
      insert into haus.service as s
        (name, aliases, dependencies, endpoints, health_interval_seconds, revision, created_at,
        modified_index)
      select name, '{}', dependencies, endpoints, "healthIntervalSeconds", revision, "createdAt",
        index from r
      where name not in (select unnest(aliases) from haus.service)
        and (revision = 1 or name in (select name from haus.service))
      on conflict (name) do update set dependencies = excluded.dependencies,
        endpoints = excluded.endpoints,
        health_interval_seconds = excluded.health_interval_seconds, revision = excluded.revision,
        modified_index = greatest(s.modified_index, excluded.modified_index)
      where s.revision = excluded.revision - 1
      returning name
    )
    select r.ord from written join r using (name)`,
}

/** What an operator sets. Each alias is unique among names and aliases, also when two processes set it at once. */
export const updateService: WriteOperation<ServiceRecord> = {
  name: 'service.update',
  sql: `
    update haus.service s set aliases = r.aliases,
      aliases_mac = decode(r."aliasesMac", 'base64'), callers = r.callers,
      health_interval_seconds = r."healthIntervalSeconds", revision = r.revision,
      modified_index = greatest(s.modified_index, r.index)
    from jsonb_to_recordset($1) as r(${serviceColumns})
    where s.name = r.name and s.revision = r.revision - 1 and not exists (
      select from haus.service o
      where o.name = any (r.aliases) or (o.name <> r.name and o.aliases && r.aliases))
    returning r.ord`,
}

/** With its configuration. Guard: it has no instance. Nothing may be there: a configuration can stand alone. */
export const forgetService: WriteOperation<{ readonly name: string }> = {
  name: 'service.forget',
  sql: `
    with r as (select * from jsonb_to_recordset($1) as r(ord int, index bigint, name text)),
    free as (
      select * from r where not exists (select from haus.instance i where i.service = r.name)
    ),
    gone as (delete from haus.service s using free where s.name = free.name),
    unset as (delete from haus.service_config c using free where c.service = free.name)
    select ord from free`,
}

/** Aliases of before there was a MAC, as they are now; see `sealRowsOfBefore`. */
export async function sealAliases(db: Kysely<Tables>, seal: AliasSeal): Promise<number> {
  const rows = await db
    .selectFrom('service')
    .select(['name', 'aliases'])
    .where(sql<boolean>`aliases <> '{}'`)
    .execute()
  for (const { name, aliases } of rows) {
    const mac = seal.macOf(name, aliases)
    await db
      .updateTable('service')
      .set({ aliases_mac: mac === null ? null : Buffer.from(mac, 'base64') })
      .where('name', '=', name)
      .execute()
  }
  return rows.length
}

interface ConfigRow extends ConfigRecord {
  readonly service: string
  readonly updatedAt: string
}

/** A later version does not make a row: the configuration has been forgotten since it was read. */
export const putConfig: WriteOperation<ConfigRow> = {
  name: 'config.put',
  sql: `
    with r as (
      select * from jsonb_to_recordset($1)
        as r(ord int, index bigint, service text, version int, data jsonb, "updatedAt" timestamptz)
    ),
    written as (
      insert into haus.service_config as c (service, version, data, updated_at)
      select service, version, data, "updatedAt" from r
      where version = 1 or service in (select service from haus.service_config)
      on conflict (service) do update set version = excluded.version, data = excluded.data,
        updated_at = excluded.updated_at
      where c.version = excluded.version - 1
      returning service, version
    )
    select r.ord from written join r using (service, version)`,
}

interface Loaded {
  readonly services: readonly { readonly record: ServiceRecord; readonly index: number }[]
  readonly instances: readonly { readonly record: InstanceRecord; readonly index: number }[]
  readonly configs: readonly { readonly service: string; readonly config: ConfigRecord }[]
  readonly index: number
}

/** Everything, for the view; inside one transaction of the caller. */
export async function loadRegistry(db: Kysely<Tables>): Promise<Loaded> {
  const head = await db.selectFrom('ledger_head').select('last_event').executeTakeFirstOrThrow()
  const services: Loaded['services'][number][] = []
  for (let after = ''; ;) {
    const rows = await db
      .selectFrom('service')
      .selectAll()
      .where('name', '>', after)
      .orderBy('name')
      .limit(pageRows)
      .execute()
    for (const row of rows) {
      services.push({ record: serviceFromRow(row), index: row.modified_index })
    }
    const last = rows.at(-1)
    if (!last || rows.length < pageRows) break
    after = last.name
  }
  const instances: Loaded['instances'][number][] = []
  for (let after = firstUuid; ;) {
    const rows = await db
      .selectFrom('instance')
      .selectAll()
      .where('id', '>', after)
      .orderBy('id')
      .limit(pageRows)
      .execute()
    for (const row of rows) {
      instances.push({ record: instanceFromRow(row), index: row.modified_index })
    }
    const last = rows.at(-1)
    if (!last || rows.length < pageRows) break
    after = last.id
  }
  const configs: Loaded['configs'][number][] = []
  for (let after = ''; ;) {
    const rows = await db
      .selectFrom('service_config')
      .select(['service', 'version', 'data'])
      .where('service', '>', after)
      .orderBy('service')
      // Each may be 64 KiB.
      .limit(50)
      .execute()
    for (const { service, version, data } of rows) {
      configs.push({ service, config: { version, data } })
    }
    const last = rows.at(-1)
    if (!last || rows.length < 50) break
    after = last.service
  }
  return { services, instances, configs, index: head.last_event }
}

/** Sorts before every id that Haus makes. */
const firstUuid = '00000000-0000-0000-0000-000000000000'

interface ServiceRow {
  name: string
  aliases: string[]
  aliases_mac: Buffer | null
  callers: string[] | null
  dependencies: string[]
  endpoints: unknown
  health_interval_seconds: number
  revision: number
  created_at: Date
}

function serviceFromRow(row: ServiceRow): ServiceRecord {
  return {
    name: row.name,
    aliases: row.aliases,
    aliasesMac: row.aliases_mac?.toString('base64') ?? null,
    callers: row.callers,
    dependencies: row.dependencies,
    endpoints: endpointsFrom(row.endpoints),
    healthIntervalSeconds: row.health_interval_seconds,
    revision: row.revision,
    createdAt: row.created_at.toISOString(),
  }
}

function endpointsFrom(value: unknown): EndpointRecord[] {
  return Array.isArray(value) ? value.filter(isEndpoint) : []
}

function isEndpoint(value: unknown): value is EndpointRecord {
  return typeof value === 'object' && value !== null && 'path' in value
}

interface InstanceRow {
  id: string
  service: string
  incarnation: number
  revision: number
  version: string
  address: string
  port: number
  scheme: 'http' | 'https' | 'tcp'
  health_endpoint: string | null
  state: string
  reason: string | null
  weight: number
  zone: string | null
  tags: string[]
  metadata: Record<string, string>
  leased: boolean
  draining: boolean
  maintenance: boolean
  registered_at: Date
  state_changed_at: Date
}

function instanceFromRow(row: InstanceRow): InstanceRecord {
  return {
    id: row.id,
    service: row.service,
    incarnation: row.incarnation,
    revision: row.revision,
    version: row.version,
    address: row.address,
    port: row.port,
    scheme: row.scheme,
    healthEndpoint: row.health_endpoint,
    state: isInstanceState(row.state) ? row.state : 'unknown',
    reason: row.reason,
    weight: row.weight,
    zone: row.zone,
    tags: row.tags,
    metadata: row.metadata,
    leased: row.leased,
    draining: row.draining,
    maintenance: row.maintenance,
    registeredAt: row.registered_at.toISOString(),
    stateChangedAt: row.state_changed_at.toISOString(),
  }
}

/**
 * One bounded statement for many leases; the wall time is the database's. It waits for nobody: two
 * processes that heard of the same instances would else wait on each other's rows, in two orders
 * for ever, and behind one stalled transaction every checkpoint would pile up.
 *
 * @returns those that were not written, since somebody holds their row or it is gone.
 */
export async function checkpointLastSeen(
  db: Kysely<Tables>,
  ids: readonly string[],
): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    with free as (
      select id from haus.instance where id = any (${[...ids]}::uuid[]) for update skip locked
    )
    update haus.instance i set last_seen_at = now() from free where i.id = free.id
    returning i.id`.execute(db)
  const written = new Set(rows.map(({ id }) => id))
  return ids.filter((id) => !written.has(id))
}

/** How long the offline instances had not been heard of, by the database's own clock. */
export async function* offlineAges(
  db: Kysely<Tables>,
): AsyncGenerator<{ id: string; ageMs: number }> {
  for (let after = firstUuid; ;) {
    const { rows } = await sql<{ id: string; age_ms: number }>`
      select id, (extract(epoch from now() - last_seen_at) * 1000)::float8 as age_ms
      from haus.instance where state = 'offline' and id > ${after}::uuid
      order by id limit ${pageRows}`.execute(db)
    for (const { id, age_ms: ageMs } of rows) yield { id, ageMs }
    const last = rows.at(-1)
    if (!last || rows.length < pageRows) return
    after = last.id
  }
}
