/**
 * One group of entries, one transaction.
 *
 * The transaction begins with an update of the head row. Its lock is held to the commit, so that
 * index order is commit order on any number of processes, and two groups can never deadlock.
 * Numbers are given out inside it and roll back with it: indexes have no gaps.
 */
import { HausError } from '@haus/contract'
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

/**
 * Whoever waits for a row holds the head row meanwhile, and with it every write of the house. Its
 * own writes stand in one line and never meet: what holds a row is a stranger, or a note of the house
 * itself beside the ledger, for one fsync. Below the 250 ms of a caller, so that the rest of the
 * group is answered in time, and he who wanted the row knows that nothing was written.
 */
const lockTimeoutMs = 100
/** When a group is run again its entries have waited, and all 512 may want what is locked. */
const lockTimeoutAgainMs = 1

export interface GroupOptions {
  /** Others are there, on PostgreSQL: they are told of new events, and may hold locks. */
  readonly shared: boolean
  /**
   * The index that the head row is expected to stand at. When it does, the whole group is one round
   * trip before its commit; when somebody else has written meanwhile, it is rolled back and begins
   * again with a look at the head.
   */
  readonly expectedIndex: number | null
}

/** Written and not yet committed: `commit` makes it so. */
export interface Staged extends Committed {
  /** @throws OutcomeUnknown */
  commit(): Promise<void>
}

/**
 * Runs the statements of a group, up to its commit. They are sent without waiting for each other's
 * answers (the connection pipelines them): on a busy thread each wait costs a turn of its event
 * loop, which is many times what the statement costs the database.
 */
export async function stageGroup(
  client: pg.ClientBase,
  entries: readonly Entry[],
  options: GroupOptions,
): Promise<Staged> {
  if (commitsItself(entries)) return stageAuditOnly(client, entries)
  try {
    return await stageTogether(client, entries, options)
  } catch (error) {
    if (error instanceof OutcomeUnknown || isInfrastructure(error)) throw error
    return stageOneByOne(client, entries, options.shared)
  }
}

/** Audit records alone are one statement, and need no COMMIT. */
export function commitsItself(entries: readonly Entry[]): boolean {
  return entries.every((entry) => entry.writes.length === 0 && entry.events.length === 0)
}

/** Somebody else holds a row or table that the entry was to change, for longer than is waited for. */
export function isLockedOut(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === '55P03'
}

/**
 * Errors of the database itself, not of an entry: trying the entries singly would not help. A mistake
 * of this program is none of them: called an outage, it would be looked for in the wrong place.
 */
export function isInfrastructure(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError)) return isOfConnection(error)
  const code = error.code ?? ''
  // 08 connection, 53 resources (disk full), 57 operator intervention, 58 system, XX internal, 25006 read-only.
  return /^(08|53|57|58|XX)/.test(code) || code === '25006'
}

/**
 * Driver and system throw plain errors; a mistake of the program has a class, such as TypeError, and
 * so has every error of Haus. By name: the system's class is not the global one.
 */
function isOfConnection(error: unknown): boolean {
  if (error instanceof AggregateError) return true
  return error instanceof Error && error.constructor.name === 'Error'
}

/** Only a hand in the database can do it; without the row nothing can be numbered. */
export function headMissing(): HausError {
  return new HausError(
    'database_corrupt',
    'the table haus.ledger_head has lost its row, without which no change can be numbered: restore a backup',
  )
}

/** The common case of reads of secrets: one statement, one round trip, one fsync, and no commit. */
async function stageAuditOnly(client: pg.ClientBase, entries: readonly Entry[]): Promise<Staged> {
  const { lastIndex, time } = await outcomeUnknownIfBroken(writeFacts(client, entries, false))
  return {
    results: entries.map(() => ({ index: lastIndex })),
    events: [],
    lastIndex,
    time,
    commit: () => Promise.resolve(),
  }
}

async function stageTogether(
  client: pg.ClientBase,
  entries: readonly Entry[],
  { shared, expectedIndex }: GroupOptions,
): Promise<Staged> {
  const lost = new Map<number, GuardLost>()
  let expected = expectedIndex
  // Each turn finds at least one entry whose guard is lost, or learns where the head is, so it ends.
  for (;;) {
    const standing = entries.map((_, place) => place).filter((place) => !lost.has(place))
    const group = standing.map((place) => entries[place] as Entry)
    const begun = expected === null ? undefined : client.query('begin')
    expected ??= await lockHead(client)
    const lastIndexes = lastIndexesOf(group, expected)
    const [, facts, , losers] = await allAnswers([
      begun,
      writeFacts(client, group, shared),
      shared ? limitLockWaits(client, lockTimeoutMs) : undefined,
      runWrites(client, group, lastIndexes),
    ])
    const first = facts.lastIndex - count(group, eventCount)
    if (first !== expected || losers.size > 0) {
      await client.query('rollback')
      for (const [place, operation] of losers) {
        lost.set(standing[place] as number, new GuardLost(operation))
      }
      if (first !== expected) expected = null
      continue
    }
    const byPlace = new Map(standing.map((place, i) => [place, lastIndexes[i] as number]))
    return {
      results: entries.map((_, place) => {
        const error = lost.get(place)
        return error ? { error } : { index: byPlace.get(place) as number }
      }),
      events: numberEvents(group, first, facts.time),
      lastIndex: facts.lastIndex,
      time: facts.time,
      commit: () => commit(client),
    }
  }
}

/** A statement failed and does not say for whom: each entry gets a savepoint, so that only the guilty fails. */
async function stageOneByOne(
  client: pg.ClientBase,
  entries: readonly Entry[],
  shared: boolean,
): Promise<Staged> {
  await client.query('rollback')
  const first = await lockHead(client)
  if (shared) await limitLockWaits(client, lockTimeoutAgainMs)
  let last = first
  const results: EntryResult[] = []
  const stood: Entry[] = []
  for (const entry of entries) {
    await client.query('savepoint entry')
    try {
      const index = last + entry.events.length
      const losers = await runWrites(client, [entry], [index])
      const [operation] = losers.values()
      if (operation !== undefined) throw new GuardLost(operation)
      await client.query('release savepoint entry')
      last = index
      results.push({ index })
      stood.push(entry)
    } catch (error) {
      if (isInfrastructure(error)) throw error
      await client.query('rollback to savepoint entry')
      results.push({ error })
    }
  }
  const { lastIndex, time } = await writeFacts(client, stood, shared)
  return {
    results,
    events: numberEvents(stood, first, time),
    lastIndex,
    time,
    commit: () => commit(client),
  }
}

/** Begins a transaction that holds the head row, and returns the index it stands at. */
async function lockHead(client: pg.ClientBase): Promise<number> {
  await client.query('begin')
  const { rows } = await client.query<{ last_event: number }>(
    'select last_event from haus.ledger_head where id = 1 for update',
  )
  const [row] = rows
  if (!row) throw headMissing()
  return row.last_event
}

/** Behind the head row: to wait for that one is to wait for one's turn among the processes. */
async function limitLockWaits(client: pg.ClientBase, timeoutMs: number): Promise<void> {
  await client.query(`set local lock_timeout = ${timeoutMs}`)
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
    // 57P: the server ended the session, perhaps after it had committed and before it said so.
    const broken =
      cause instanceof pg.DatabaseError ? cause.code?.startsWith('57P') : isInfrastructure(cause)
    if (!broken) throw cause
    throw new OutcomeUnknown('the connection broke during the commit', { cause })
  }
}

/**
 * Waits for all, and throws what failed first: behind a failed statement every other of its
 * transaction fails too, and only says so.
 */
async function allAnswers<T extends readonly unknown[]>(
  answers: T,
): Promise<{ -readonly [Place in keyof T]: Awaited<T[Place]> }> {
  await Promise.allSettled(answers)
  return Promise.all(answers)
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
  const stages = stagesOf(entries)
  // A statement may fail on nothing but what a lost guard has left out (a row that is missing for a
  // foreign key): the guard before it is the reason, and comes first.
  const answers = await Promise.allSettled(
    stages.map(({ operation, writes }) => {
      const rows = writes.map(({ place, row }) => ({
        ...row,
        ord: place,
        index: lastIndexes[place],
      }))
      return client.query<[number]>({
        name: operation.name,
        text: operation.sql,
        values: [JSON.stringify(rows)],
        rowMode: 'array',
      })
    }),
  )
  const losers = new Map<number, string>()
  for (const [place, { operation, writes }] of stages.entries()) {
    const answer = answers[place]
    if (answer?.status === 'rejected') throw answer.reason
    const held = answer?.value.rows ?? []
    if (held.length === writes.length) continue
    const places = new Set(held.map(([ord]) => ord))
    for (const write of writes) {
      if (!places.has(write.place)) losers.set(write.place, operation.name)
    }
    // Later stages ran on what these had no right to write: the next turn asks them again.
    return losers
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

function lastIndexesOf(entries: readonly Entry[], before: number): number[] {
  let index = before
  return entries.map((entry) => (index += entry.events.length))
}

function numberEvents(entries: readonly Entry[], before: number, time: string): LedgerEvent[] {
  let index = before
  return entries.flatMap(({ events }) =>
    events.map(({ type, subject, service, data }) => {
      index++
      return { index, time, type, subject, service, data }
    }),
  )
}

/**
 * Moves the head, which its lock makes ours to the commit, and inserts what is numbered by it: one
 * statement for events and audit.
 */
async function writeFacts(
  client: pg.ClientBase,
  entries: readonly Entry[],
  notify: boolean,
): Promise<{ lastIndex: number; time: string }> {
  const events: object[] = []
  const audits: object[] = []
  for (const entry of entries) {
    for (const event of entry.events) events.push({ ord: events.length + 1, ...event })
    if (entry.audit) audits.push({ ord: audits.length + 1, ...entry.audit })
  }
  const { rows } = await client.query<{ last_event: number; time: Date }>(
    events.length === 0
      ? {
          name: 'ledger_audits',
          text: auditsSql,
          values: [audits.length, JSON.stringify(audits)],
        }
      : {
          name: notify ? 'ledger_facts_notify' : 'ledger_facts',
          text: notify ? factsSql(`, pg_notify('${notifyChannel}', last_event::text)`) : factsSql(),
          values: [audits.length, JSON.stringify(audits), events.length, JSON.stringify(events)],
        },
  )
  const [head] = rows
  if (!head) throw headMissing()
  return { lastIndex: head.last_event, time: head.time.toISOString() }
}

// Milliseconds, so that a time read back from the table equals the one that was answered.
const transactionTime = `date_trunc('milliseconds', clock_timestamp())`

const insertAudits = `
    insert into haus.audit (id, time, actor, action, target, outcome, code, source, request_id, detail)
    select head.last_audit - $1::int + r.ord, head.time, r.actor, r.action, r.target, r.outcome, r.code, r.source,
      r."requestId", r.detail
    from head, json_to_recordset($2::json) as r(ord int, actor text, action text, target text,
      outcome text, code text, source text, "requestId" text, detail jsonb)`

const auditsSql = `
  with head as (
    update haus.ledger_head set last_audit = last_audit + $1::int where id = 1
    returning last_event, last_audit, ${transactionTime} as time
  ), audits as (${insertAudits})
  select last_event, time from head`

const factsSql = (more = ''): string => `
  with head as (
    update haus.ledger_head set last_event = last_event + $3::int, last_audit = last_audit + $1::int
    where id = 1 returning last_event, last_audit, ${transactionTime} as time
  ), audits as (${insertAudits}
  ), events as (
    insert into haus.ledger_event (index, time, type, subject, service, data)
    select head.last_event - $3::int + r.ord, head.time, r.type, r.subject, r.service, r.data
    from head, jsonb_to_recordset($4::jsonb)
      as r(ord int, type text, subject text, service text, data jsonb)
  )
  select last_event, time${more} from head`

const eventCount = (entry: Entry): number => entry.events.length

function count(entries: readonly Entry[], of: (entry: Entry) => number): number {
  let sum = 0
  for (const entry of entries) sum += of(entry)
  return sum
}
