/** Looks at the tables themselves: order, completeness, and that no change stands half. */
import type { Book } from './book.ts'

export type Query = (sql: string, parameters?: unknown[]) => Promise<Record<string, unknown>[]>

/** Each counts what must not be there. */
const invariants: Readonly<Record<string, string>> = {
  'gaps in the ledger': `
    select abs((select last_event from haus.ledger_head) - count(*))
         + abs(coalesce(max(index), 0) - count(*)) as n from haus.ledger_event`,
  'gaps in the audit': `
    select abs((select last_audit from haus.ledger_head) - count(*))
         + abs(coalesce(max(id), 0) - count(*)) as n from haus.audit`,
  'credentials without their current version': `
    select count(*) as n from haus.credential c
    where not exists (select from haus.credential_version v
                      where v.credential_id = c.id and v.version = c.current_version)`,
  'versions beyond the current one': `
    select count(*) as n from haus.credential_version v
    join haus.credential c on c.id = v.credential_id where v.version > c.current_version`,
  'gaps between versions': `
    select count(*) as n from (
      select version - lag(version) over (partition by credential_id order by version) as step
      from haus.credential_version) v where step <> 1`,
  'instances without their service': `
    select count(*) as n from haus.instance i
    where not exists (select from haus.service s where s.name = i.service)`,
  'instances changed without an event': `
    select count(*) as n from haus.instance i
    where not exists (select from haus.ledger_event e
                      where e.index = i.modified_index and e.subject = 'services/' || i.service)`,
  'services changed without an event': `
    select count(*) as n from haus.service s
    where not exists (select from haus.ledger_event e
                      where e.index = s.modified_index and e.subject = 'services/' || s.name)`,
  'credentials without an event': `
    select count(*) as n from haus.credential c
    where not exists (select from haus.ledger_event e
                      where e.type = 'haus.credential.created' and e.data->>'id' = c.id::text)`,
  'credential events without their version': `
    select count(*) as n from haus.ledger_event e
    where e.type in ('haus.credential.created', 'haus.credential.changed')
      and not exists (select from haus.credential c
                      where c.id::text = e.data->>'id'
                        and c.current_version >= (e.data->>'version')::int)`,
  'keys without an event': `
    select abs((select count(*) from haus.service_key)
             - (select count(*) from haus.ledger_event where type = 'haus.key.created')) as n`,
  'events of one commit out of time': `
    select count(*) as n from (
      select time < lag(time) over (order by index) as back from haus.ledger_event) e where back`,
}

export async function checkDatabase(query: Query, book: Book): Promise<void> {
  for (const [what, sql] of Object.entries(invariants)) {
    const [row] = await query(sql)
    if (Number(row?.['n']) !== 0) book.violations.push(`${what}: ${String(row?.['n'])}`)
  }
  const wanted = [...book.audited]
  const rows = await query(
    'select distinct request_id from haus.audit where request_id = any($1::text[])',
    [wanted],
  )
  const found = new Set(rows.map((row) => row['request_id']))
  const missing = wanted.filter((requestId) => !found.has(requestId))
  if (missing.length > 0) {
    book.violations.push(`${missing.length} acknowledged operations have no audit record`)
  }
  book.audited.clear()
}

/** Every index against its table, every table page by page. Needs the extension. */
export async function checkStructure(query: Query, book: Book): Promise<void> {
  await query('create extension if not exists amcheck')
  const relations = await query(
    `select c.oid::regclass::text as name, c.relkind::text as kind
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'haus' and c.relkind in ('i', 'r') order by 1`,
  )
  for (const { name, kind } of relations) {
    try {
      if (kind === 'i') await query('select bt_index_check($1::regclass, true)', [name])
      else {
        const damage = await query('select msg from verify_heapam($1::regclass)', [name])
        for (const { msg } of damage) book.violations.push(`${String(name)}: ${String(msg)}`)
      }
    } catch (error) {
      book.violations.push(
        `${String(name)}: ${error instanceof Error ? error.message : String(error)}`,
      )
    }
  }
}
