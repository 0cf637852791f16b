/** `haus audit`: who did what, newest first, or as it happens. */
import type { HausClient, ItemOf } from '@haus/sdk/client'
import type { Command } from '../command.ts'
import type { Context } from '../context.ts'
import { exitCodes, Failure, usageFailure } from '../failure.ts'
import { collect } from '../house.ts'
import { toneOf } from '../output/colour.ts'
import { parseDurationSeconds, parseTimeMs, relativeTime } from '../output/relative-time.ts'
import { padText, plainText } from '../output/text-width.ts'
import type { ParsedArguments } from '../parse-arguments.ts'
import { pause } from '../platform/pause.ts'
import { limitOf, limitOption, noteMore } from './list-limit.ts'

type AuditEntry = ItemOf<'listAudit'>

const limitDefault = 50
/** Enough to see where it goes on. */
const limitFollowing = 10

export const auditCommand: Command = {
  name: 'audit',
  summary: 'who did what',
  description: ['Every change, every read of a secret and every refusal of one, newest first.'],
  house: true,
  options: [
    { name: 'actor', value: 'WHO', summary: 'operator, service:NAME, anonymous or haus' },
    { name: 'action', value: 'OPERATION', summary: 'an operation id, such as revealCredential' },
    { name: 'target', value: 'WHAT', summary: 'such as credentials/orders-database' },
    {
      name: 'outcome',
      value: 'OUTCOME',
      summary: 'allowed, denied or failed',
      complete: ['allowed', 'denied', 'failed'],
    },
    {
      name: 'since',
      value: 'TIME',
      summary: 'not older: 10m, 2h, 7d, or a time such as 2026-11-25T08:00:00Z',
    },
    {
      ...limitOption,
      summary: `at most so many (default ${limitDefault}; ${limitFollowing} before --follow goes on)`,
    },
    { name: 'follow', short: 'f', summary: 'oldest first, and go on with what happens' },
  ],
  examples: [
    ['haus audit --outcome denied --since 1d', 'who was refused since yesterday'],
    ['haus audit --follow', 'watch'],
  ],
  run: (context, args) => (args.flag('follow') ? follow(context, args) : list(context, args)),
}

interface Filter {
  readonly actor?: string
  readonly action?: string
  readonly target?: string
  readonly outcome?: AuditEntry['outcome']
}

const outcomes = ['allowed', 'denied', 'failed'] as const

function filterOf(args: ParsedArguments): Filter {
  const [actor, action, target] = [args.text('actor'), args.text('action'), args.text('target')]
  const outcome = args.text('outcome')
  const known = outcomes.find((each) => each === outcome)
  if (outcome !== undefined && known === undefined) {
    throw usageFailure(`--outcome must be one of ${outcomes.join(', ')}.`)
  }
  return {
    ...(actor !== undefined && { actor }),
    ...(action !== undefined && { action }),
    ...(target !== undefined && { target }),
    ...(known !== undefined && { outcome: known }),
  }
}

function sinceOf({ screen }: Context, args: ParsedArguments): number {
  const text = args.text('since')
  if (text === undefined) return Number.NEGATIVE_INFINITY
  const seconds = parseDurationSeconds(text)
  const atMs = seconds === undefined ? parseTimeMs(text) : screen.nowMs - seconds * 1000
  if (atMs !== undefined) return atMs
  throw usageFailure(
    '--since must be a duration such as 10m or 7d, or a time such as 2026-11-25T08:00:00Z.',
  )
}

async function list(context: Context, args: ParsedArguments): Promise<number> {
  const { screen } = context
  const filter = filterOf(args)
  const sinceMs = sinceOf(context, args)
  const limit = limitOf(args, limitDefault)
  const { client } = context.house()
  const page = await since(sinceMs, limit, client, filter)
  if (args.flag('json')) {
    screen.json(page)
    return exitCodes.ok
  }
  if (page.items.length === 0) {
    screen.note('Nothing of the kind is in the audit.')
    return exitCodes.ok
  }
  screen.table(
    [
      { title: 'WHEN' },
      { title: 'WHO', flexible: true },
      { title: 'ACTION' },
      { title: 'TARGET', flexible: true },
      { title: 'OUTCOME' },
      { title: 'FROM' },
      { title: 'DETAIL', flexible: 'first' },
    ],
    page.items.map((entry) => [
      relativeTime(entry.time, screen.nowMs),
      entry.actor,
      entry.action,
      entry.target,
      { text: entry.code ?? entry.outcome, tone: toneOf(entry.outcome) },
      entry.source ?? '',
      detailText(entry),
    ]),
  )
  noteMore(screen, page, limit)
  return exitCodes.ok
}

/** Records come newest first, so the first one that is too old ends the search. */
async function since(sinceMs: number, limit: number, client: HausClient, filter: Filter) {
  const page = await collect(limit, async (query) => {
    const { body } = await client.call('listAudit', { query: { ...query, ...filter } })
    const fresh = body.items.filter(({ time }) => Date.parse(time) >= sinceMs)
    const nextCursor = fresh.length < body.items.length ? null : body.nextCursor
    return { body: { items: fresh, nextCursor } }
  })
  return page
}

/** What is null was not given: to a reader it only hides what was. */
export function detailText({ detail }: Pick<AuditEntry, 'detail'>): string {
  return Object.entries(detail)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(' ')
}

/** Short enough to feel live, long enough to cost nothing: one read of the newest page. */
const lookAgainAfterMs = 1_000
/** Of one look; what came in between is read page by page. */
const catchUpMax = 100_000

async function follow(context: Context, args: ParsedArguments): Promise<number> {
  const { screen } = context
  const filter = filterOf(args)
  const sinceMs = sinceOf(context, args)
  const { client } = context.house()
  const first = await since(sinceMs, limitOf(args, limitFollowing), client, filter)
  let lastId = first.items[0]?.id ?? 0
  show(first.items)
  let away = false
  for (;;) {
    await pause(lookAgainAfterMs)
    try {
      const fresh = await newer(client, filter, lastId)
      if (away) screen.note('The house is back.')
      away = false
      lastId = fresh[0]?.id ?? lastId
      show(fresh)
    } catch (error) {
      const passing =
        error instanceof Failure && ['unreachable', 'unavailable'].includes(error.exit)
      if (!passing) throw error
      if (!away) screen.note(`${error.message} Waiting for it.`)
      away = true
    }
  }

  function show(newestFirst: readonly AuditEntry[]): void {
    for (const entry of newestFirst.toReversed()) {
      screen.print(args.flag('json') ? `${JSON.stringify(entry)}\n` : `${lineOf(context, entry)}\n`)
    }
  }
}

/** Ids have no gaps and grow in the order of commits, so nothing is missed between two looks. */
async function newer(client: HausClient, filter: Filter, lastId: number): Promise<AuditEntry[]> {
  const { items } = await collect(catchUpMax, async (query) => {
    const { body } = await client.call('listAudit', { query: { ...query, ...filter } })
    const fresh = body.items.filter(({ id }) => id > lastId)
    const nextCursor = fresh.length < body.items.length ? null : body.nextCursor
    return { body: { items: fresh, nextCursor } }
  })
  return items
}

/** Lines that come one by one cannot wait for the widest: the usual widths are given. */
function lineOf({ screen }: Context, entry: AuditEntry): string {
  const { time, actor, action, target, outcome, code } = entry
  return [
    screen.toned(time.slice(0, 19).replace('T', ' '), 'quiet'),
    padText(plainText(actor), 18, 'left'),
    padText(plainText(action), 22, 'left'),
    padText(plainText(target), 32, 'left'),
    screen.toned(code ?? outcome, toneOf(outcome)),
    screen.toned(plainText(detailText(entry)), 'quiet'),
  ]
    .join('  ')
    .trimEnd()
}
