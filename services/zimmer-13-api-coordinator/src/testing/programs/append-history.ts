/**
 * One of several writers to a ledger: appends a random history, the same for the same seed, and
 * tells of every acknowledged entry: `acknowledged <index>`, at last `seen <how many> <digest>` of
 * all the events that its projection was told, its own and the others'.
 */
import { createHash } from 'node:crypto'
import { systemClock } from '../../platform/clock/clock.ts'
import { openDatabase } from '../../platform/database/index.ts'
import { createLedger, GuardLost, write } from '../../platform/ledger/index.ts'
import type { Entry, WriteOperation } from '../../platform/ledger/index.ts'
import type { LedgerTables } from '../../platform/ledger/table.ts'
import type { Log } from '../../platform/log/log.ts'
import { silentLog } from '../databases.ts'
import { until } from '../until.ts'

const [url, dataDir, seed, rounds, roundsBetweenMeetings, total] = process.argv.slice(2)
if (!url || !dataDir || !seed || !rounds || !roundsBetweenMeetings || !total) {
  throw new Error(
    'usage: append-history.ts <url> <folder> <seed> <rounds> <rounds between meetings> <number of writers>',
  )
}

/** xorshift32: small, and good enough to choose by. */
let state = Number(seed) | 1
function below(limit: number): number {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  return (state >>> 0) % limit
}

/** Adds one; the guard is lost when another writer was faster. */
const increment: WriteOperation<{ id: string; expected: number }> = {
  name: 'test_increment',
  sql: `update haus.counter c set value = c.value + 1
    from jsonb_to_recordset($1::jsonb) as r(ord int, id text, expected int)
    where c.id = r.id and c.value = r.expected returning r.ord`,
}

const known = new Map<string, number>()
const digest = createHash('sha256')
let seen = 0
let last = 0

const database = await openDatabase<LedgerTables>({
  url,
  dataDir,
  log: silentLog,
  onFatal: (error) => {
    throw error
  },
})
const ledger = createLedger<LedgerTables>({
  database,
  clock: systemClock,
  log: silentLog as Log,
  writeTimeoutMs: 30_000,
  projections: [
    {
      load: async () => {},
      apply(events) {
        for (const { index, subject, data } of events) {
          if (index !== last + 1) throw new Error(`${index} came after ${last}`)
          last = index
          seen++
          known.set(subject, Number(data['value']))
          digest.update(`${index} ${subject} ${String(data['value'])}\n`)
        }
      },
    },
  ],
})

function randomEntry(): Entry {
  const id = `counters/${below(12)}`
  const expected = known.get(id) ?? 0
  const events = Array.from({ length: 1 + below(3) }, () => ({
    type: 'test',
    subject: id,
    service: null,
    data: { value: expected + 1, writer: seed },
  }))
  const audit = {
    actor: `writer ${seed}`,
    action: 'test',
    target: id,
    outcome: 'allowed' as const,
    code: null,
    source: null,
    requestId: null,
    detail: {},
  }
  if (below(4) === 0) return { keys: [], writes: [], events: [], audit }
  return { keys: [id], writes: [write(increment, { id, expected })], events, audit }
}

await ledger.start()
console.log('ready')
await until(
  'all writers are ready',
  async () => {
    const { rows } = await database.pool.query(`select 1 from haus.counter where id = 'go'`)
    return rows.length > 0
  },
  60_000,
)
/** Until every writer is here. */
async function meet(place: string): Promise<void> {
  await database.pool.query(`insert into haus.counter values ($1, 0)`, [`${place} ${seed}`])
  await until(
    `all writers are at ${place}`,
    async () => {
      const { rows } = await database.pool.query<{ there: number }>(
        `select count(*) as there from haus.counter where id like $1`,
        [`${place} %`],
      )
      return rows[0]?.there === Number(total)
    },
    60_000,
  )
}

for (let round = 0; round < Number(rounds); round++) {
  // One that is given no processor for a while would otherwise begin when the other has ended.
  if (round > 0 && round % Number(roundsBetweenMeetings) === 0) await meet(`round ${round}`)
  const entries = Array.from({ length: 1 + below(12) }, randomEntry)
  const answers = await Promise.allSettled(entries.map((entry) => ledger.append(entry)))
  for (const [n, answer] of answers.entries()) {
    if (answer.status === 'rejected') {
      if (!(answer.reason instanceof GuardLost)) throw answer.reason
    } else if (entries[n]?.events.length) {
      if (last < answer.value.index) throw new Error('answered before it was applied')
      console.log(`acknowledged ${answer.value.index}`)
    }
  }
}
await meet('the end')
await until(
  'the last event is heard',
  async () => {
    const { rows } = await database.pool.query<{ head: number }>(
      `select last_event as head from haus.ledger_head`,
    )
    return rows[0]?.head === last
  },
  60_000,
)
console.log(`seen ${seen} ${digest.digest('hex')}`)
await ledger.stop(1_000)
await database.close()
