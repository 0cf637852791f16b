import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { eventRetentionDays } from '@haus/contract'
import { migrations } from '../../migrations/index.ts'
import {
  databaseKinds,
  needsDatabase,
  openTestDatabase,
  reuseDatabases,
  silentLog,
  type TestDatabase,
} from '../../testing/databases.ts'
import type { Log } from '../log/log.ts'
import { pruneHistory } from './retention.ts'
import type { LedgerTables } from './table.ts'

reuseDatabases(after)

type House = TestDatabase<LedgerTables>
type Age = 'old' | 'recent' | 'fresh' | 'ahead'

const auditDays = 365

/** Adds `count` rows to both tables after those that are there. */
async function add(house: House, count: number, age: Age): Promise<void> {
  const ages = {
    old: (days: number) => `now() - interval '${days + 1} days'`,
    recent: (days: number) => `now() - interval '${days - 1} days'`,
    fresh: () => 'now()',
    ahead: () => `now() + interval '10 years'`,
  }
  await house.pool.query(`
    insert into haus.ledger_event (index, time, type, subject, service, data)
    select base + n, ${ages[age](eventRetentionDays)}, 'test', 's', null, '{}'
    from (select coalesce(max(index), 0) as base from haus.ledger_event) b, generate_series(1, ${count}) n;
    insert into haus.audit (id, time, actor, action, target, outcome, detail)
    select base + n, ${ages[age](auditDays)}, 'operator', 'test', 't', 'allowed', '{}'
    from (select coalesce(max(id), 0) as base from haus.audit) b, generate_series(1, ${count}) n`)
}

interface Kept {
  oldest: number | null
  rows: number
}

async function kept(house: House): Promise<{ events: Kept; audits: Kept }> {
  const of = async (table: string, key: string): Promise<Kept> => {
    const { rows } = await house.pool.query<Kept>(
      `select min(${key}) as oldest, count(*) as rows from haus.${table}`,
    )
    return rows[0] ?? { oldest: null, rows: 0 }
  }
  return { events: await of('ledger_event', 'index'), audits: await of('audit', 'id') }
}

const both = (of: Kept): { events: Kept; audits: Kept } => ({ events: of, audits: of })

function prune(house: House): Promise<void> {
  const fail = (): never => assert.fail('the round failed')
  return pruneHistory(house.db, { ...silentLog, warn: fail } as unknown as Log)
}

for (const kind of databaseKinds) {
  const matrix = needsDatabase(kind)

  test(`${kind}: old rows go, in several steps, and what is not old stays`, matrix, async () => {
    await using house = await openTestDatabase<LedgerTables>(kind, { migrations })
    await add(house, 2_500, 'old')
    await add(house, 200, 'recent')
    await add(house, 10_001, 'fresh')
    await prune(house)
    assert.deepEqual(await kept(house), both({ oldest: 2_501, rows: 10_201 }))
    await prune(house)
    assert.deepEqual(await kept(house), both({ oldest: 2_501, rows: 10_201 }))
  })

  test(
    `${kind}: the newest 10,000 rows stay whatever their age, and what is old then goes only when they are new`,
    matrix,
    async () => {
      await using house = await openTestDatabase<LedgerTables>(kind, { migrations })
      await prune(house)
      await add(house, 300, 'old')
      await prune(house)
      assert.deepEqual(await kept(house), both({ oldest: 1, rows: 300 }))
      // As after a jump of the clock by the whole retention.
      await add(house, 10_000, 'fresh')
      await prune(house)
      assert.deepEqual(await kept(house), both({ oldest: 1, rows: 10_300 }))
      await add(house, 1, 'fresh')
      await prune(house)
      assert.deepEqual(await kept(house), both({ oldest: 301, rows: 10_001 }))
    },
  )

  test(
    `${kind}: times ahead of the clock, left by one that jumped and was set back, age nobody`,
    matrix,
    async () => {
      await using house = await openTestDatabase<LedgerTables>(kind, { migrations })
      await add(house, 500, 'recent')
      await add(house, 10_001, 'ahead')
      await prune(house)
      assert.deepEqual(await kept(house), both({ oldest: 1, rows: 10_501 }))
    },
  )
}
