/**
 * One group of entries, one transaction.
 *
 * The transaction begins with an update of the head row. Its lock is held to the commit, so that
 * index order is commit order on any number of processes, and two groups can never deadlock.
 * Numbers are given out inside it and roll back with it: indexes have no gaps.
 */
import pg from 'pg'
import type { Entry, LedgerEvent, Write, WriteOperation } from './ledger.ts'
import { GuardLost } from './ledger.ts'

export type EntryResult = { readonly index: number } | { readonly error: unknown }

export interface Committed {
  /** By place in the group. */
  readonly results: readonly EntryResult[]
  readonly events: readonly LedgerEvent[]
  /** The index of the house after the group. */
  readonly lastIndex: number
  readonly time: string
}

/** The connection broke after COMMIT was sent and before its answer: nobody knows. */
export class OutcomeUnknown extends Error {
  override readonly name = 'OutcomeUnknown'
}

/** Name of the channel that tells other processes of new events. */
export const notifyChannel = 'haus_ledger'

interface Head {
  lastEvent: number
  lastAudit: number
  time: string
}

export async function commitGroup(
  client: pg.ClientBase,
  entries: readonly Entry[],
  notify: boolean,
): Promise<Committed> {
  if (entries.every((entry) => entry.writes.length === 0 && entry.events.length === 0)) {
    return commitAuditOnly(client, entries)
  }
  try {
    return await commitTogether(client, entries, notify)
  } catch (error) {
    if (error instanceof OutcomeUnknown || isInfrastructure(error)) throw error
    return commitOneByOne(client, entries, notify)
  }
}

/** Errors of the database itself, not of an entry: trying the entries singly would not help. */
export function isInfrastructure(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError)) return !(error instanceof GuardLost)
  const code = error.code ?? ''
  // 08 connection, 53 resources (disk full), 57 operator intervention, 58 system, XX internal, 25006 read-only.
  return /^(08|53|57|58|XX)/.test(code) || code === '25006'
}

/** The common case of reads of secrets: one statement, one round trip, one fsync for all of them. */
async function commitAuditOnly(
  client: pg.ClientBase,
  entries: readonly Entry[],
): Promise<Committed> {
  const rows = auditRows(entries, 0)
  const { rows: heads } = await outcomeUnknownIfBroken(
    client.query<{ last_event: number; time: Date }>({
      name: 'ledger_audit_only',
      text: `with head as (
          update haus.ledger_head set last_audit = last_audit + $2::int where id = 1
          returning last_event, last_audit - $2::int as base, ${transactionTime} as time
        ), audited as (
          insert into haus.audit (id, time, actor, action, target, outcome, code, source, request_id, detail)
          select head.base + r.ord, head.time, r.actor, r.action, r.target, r.outcome, r.code, r.source, r."requestId", r.detail
          from head, jsonb_to_recordset($1::jsonb) as r(${auditColumns})
        )
        select last_event, time from head`,
      values: [JSON.stringify(rows), rows.length],
    }),
  )
  const [head] = heads
  if (!head) throw new Error('the ledger has no head row')
  const index = head.last_event
  return {
    results: entries.map(() => ({ index })),
    events: [],
    lastIndex: index,
    time: head.time.toISOString(),
  }
}

async function commitTogether(
  client: pg.ClientBase,
  entries: readonly Entry[],
  notify: boolean,
): Promise<Committed> {
  const lost = new Map<number, GuardLost>()
  // Each turn finds at least one entry whose guard is lost, so it ends.
  for (;;) {
    const standing = entries.map((_, place) => place).filter((place) => !lost.has(place))
    const group = standing.map((place) => entries[place] as Entry)
    const head = await begin(client, count(group, eventCount), count(group, auditCount))
    const events = numberEvents(group, head)
    const losers = await runWrites(client, group, events.lastIndexes)
    if (losers.size > 0) {
      await client.query('rollback')
      for (const [place, operation] of losers) {
        lost.set(standing[place] as number, new GuardLost(operation))
      }
      continue
    }
    await insertFacts(client, group, events.list, head, notify)
    await commit(client)
    const byPlace = new Map(standing.map((place, i) => [place, events.lastIndexes[i] as number]))
    return {
      results: entries.map((_, place) => {
        const error = lost.get(place)
        return error ? { error } : { index: byPlace.get(place) as number }
      }),
      events: events.list,
      lastIndex: head.lastEvent,
      time: head.time,
    }
  }
}

/** A statement failed and does not say for whom: each entry gets a savepoint, so that only the guilty fails. */
async function commitOneByOne(
  client: pg.ClientBase,
  entries: readonly Entry[],
  notify: boolean,
): Promise<Committed> {
  await client.query('rollback')
  const start = await begin(client, 0, 0)
  const head: Head = { ...start }
  const results: EntryResult[] = []
  const stood: Entry[] = []
  for (const entry of entries) {
    await client.query('savepoint entry')
    try {
      const index = head.lastEvent + entry.events.length
      const losers = await runWrites(client, [entry], [index])
      const [operation] = losers.values()
      if (operation !== undefined) throw new GuardLost(operation)
      await client.query('release savepoint entry')
      head.lastEvent = index
      head.lastAudit += auditCount(entry)
      results.push({ index })
      stood.push(entry)
    } catch (error) {
      if (isInfrastructure(error)) throw error
      await client.query('rollback to savepoint entry')
      results.push({ error })
    }
  }
  await client.query(
    `update haus.ledger_head set last_event = ${head.lastEvent}, last_audit = ${head.lastAudit} where id = 1`,
  )
  const events = numberEvents(stood, head)
  await insertFacts(client, stood, events.list, head, notify)
  await commit(client)
  return { results, events: events.list, lastIndex: head.lastEvent, time: start.time }
}

// Milliseconds, so that a time read back from the table equals the one that was answered.
const transactionTime = `date_trunc('milliseconds', clock_timestamp())`

async function begin(
  client: pg.ClientBase,
  eventsInGroup: number,
  auditsInGroup: number,
): Promise<Head> {
  // Two statements in one simple query: one round trip. The numbers are our own integers.
  const answers = (await client.query(
    `begin; update haus.ledger_head set last_event = last_event + ${eventsInGroup}, last_audit = last_audit + ${auditsInGroup} where id = 1 returning last_event, last_audit, ${transactionTime} as time`,
  )) as unknown as pg.QueryResult<{ last_event: number; last_audit: number; time: Date }>[]
  const row = answers[1]?.rows[0]
  if (!row) throw new Error('the ledger has no head row')
  return { lastEvent: row.last_event, lastAudit: row.last_audit, time: row.time.toISOString() }
}

async function commit(client: pg.ClientBase): Promise<void> {
  const answer = await outcomeUnknownIfBroken(client.query('commit'))
  // PostgreSQL answers COMMIT of a failed transaction with ROLLBACK, without an error.
  if (answer.command !== 'COMMIT') throw new Error('the transaction was rolled back at its commit')
}

async function outcomeUnknownIfBroken<T>(query: Promise<T>): Promise<T> {
  try {
    return await query
  } catch (cause) {
    if (cause instanceof pg.DatabaseError) throw cause
    throw new OutcomeUnknown('the connection broke during the commit', { cause })
  }
}

/**
 * Runs the writes of a group, each distinct operation once for all its rows.
 * @returns the places whose guard was lost, with the operation that says so.
 */
async function runWrites(
  client: pg.ClientBase,
  entries: readonly Entry[],
  lastIndexes: readonly number[],
): Promise<Map<number, string>> {
  const losers = new Map<number, string>()
  for (const stage of stagesOf(entries)) {
    const rows = stage.writes.map(({ place, row }) => ({
      ...row,
      ord: place,
      index: lastIndexes[place],
    }))
    const { rows: held } = await client.query<[number]>({
      name: stage.operation.name,
      text: stage.operation.sql,
      values: [JSON.stringify(rows)],
      rowMode: 'array',
    })
    if (held.length === stage.writes.length) continue
    const places = new Set(held.map(([ord]) => ord))
    for (const { place } of stage.writes) {
      if (!places.has(place)) losers.set(place, stage.operation.name)
    }
    if (losers.size > 0) return losers
  }
  return losers
}

interface Stage {
  readonly operation: WriteOperation<object>
  readonly writes: { place: number; row: object }[]
}

/** Merges the entries' writes by operation, keeping each entry's own order. */
export function stagesOf(entries: readonly { readonly writes: readonly Write[] }[]): Stage[] {
  const stages: Stage[] = []
  for (const [place, { writes }] of entries.entries()) {
    let from = 0
    for (const { operation, row } of writes) {
      let at = from
      while (at < stages.length && stages[at]?.operation !== operation) at++
      if (at === stages.length) stages.push({ operation, writes: [] })
      stages[at]?.writes.push({ place, row })
      from = at
    }
  }
  return stages
}

function numberEvents(entries: readonly Entry[], head: Head) {
  const list: LedgerEvent[] = []
  const lastIndexes: number[] = []
  let index = head.lastEvent - count(entries, eventCount)
  for (const entry of entries) {
    for (const event of entry.events) {
      index++
      list.push({
        index,
        time: head.time,
        type: event.type,
        subject: event.subject,
        service: event.service,
        data: event.data,
      })
    }
    lastIndexes.push(index)
  }
  return { list, lastIndexes }
}

async function insertFacts(
  client: pg.ClientBase,
  entries: readonly Entry[],
  events: readonly LedgerEvent[],
  head: Head,
  notify: boolean,
): Promise<void> {
  const audits = auditRows(entries, head.lastAudit - count(entries, auditCount))
  await client.query({
    name: notify ? 'ledger_facts_notify' : 'ledger_facts',
    text: `with events as (
        insert into haus.ledger_event (index, time, type, subject, service, data)
        select r.index, $3::timestamptz, r.type, r.subject, r.service, r.data
        from jsonb_to_recordset($1::jsonb) as r(index bigint, type text, subject text, service text, data jsonb)
      ), audits as (
        insert into haus.audit (id, time, actor, action, target, outcome, code, source, request_id, detail)
        select r.ord, $3::timestamptz, r.actor, r.action, r.target, r.outcome, r.code, r.source, r."requestId", r.detail
        from jsonb_to_recordset($2::jsonb) as r(${auditColumns})
      )
      select ${notify ? `pg_notify('${notifyChannel}', $4::text)` : '$4::text'}`,
    values: [JSON.stringify(events), JSON.stringify(audits), head.time, String(head.lastEvent)],
  })
}

const auditColumns =
  'ord bigint, actor text, action text, target text, outcome text, code text, source text, "requestId" text, detail jsonb'

function auditRows(entries: readonly Entry[], lastId: number): object[] {
  const rows: object[] = []
  for (const { audit } of entries) {
    if (audit) rows.push({ ...audit, ord: lastId + rows.length + 1 })
  }
  return rows
}

const eventCount = (entry: Entry): number => entry.events.length
const auditCount = (entry: Entry): number => (entry.audit ? 1 : 0)

function count(entries: readonly Entry[], of: (entry: Entry) => number): number {
  let sum = 0
  for (const entry of entries) sum += of(entry)
  return sum
}
