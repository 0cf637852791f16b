/**
 * `kill -9` at random moments under write load, on both databases: what was acknowledged is there
 * afterwards, in order, and nothing stands half-written.
 *
 * A share runs with every `npm test`; `npm run crash` (HAUS_TEST_LONG=1) kills 50 times and more.
 * HAUS_TEST_SEED repeats a run's choices; the moments of the operating system stay its own.
 */
import { randomInt } from 'node:crypto'
import fs from 'node:fs'
import { test, type TestContext } from 'node:test'
import assert from 'node:assert/strict'
import { Client } from 'pg'
import {
  postgresUnavailable,
  startPostgres,
  type PostgresServer,
} from '../services/zimmer-13-api-coordinator/src/testing/postgres-server.ts'
import { until } from '../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { Book } from './crash/book.ts'
import { checkThroughApi } from './crash/check-api.ts'
import { checkDatabase, checkStructure, type Query } from './crash/check-database.ts'
import { withEmbeddedCopy } from './crash/embedded-copy.ts'
import { seededRandom } from './crash/seeded-random.ts'
import { createWriters, startLoad } from './crash/writers.ts'
import {
  attemptStart,
  folderWithDatabase,
  startHouse,
  temporaryFolder,
  type House,
} from './harness.ts'

const long = process.env['HAUS_TEST_LONG'] === '1'
const killsPerDatabase = long ? 26 : 2
/** Looking into the tables costs more than a round; every so many rounds is often enough. */
const roundsBetweenLooks = 5
/** A crash comes after so many more acknowledgements: from the first group on to several groups later. */
const acknowledgementsBeforeKill = [1, 500] as const
const loadDeadlineMs = 3_000
/** A starved machine gets more time, so that no crash comes before there is something to lose. */
const leastAcknowledged = 20
const leastDeadlineMs = 60_000
const writesBackDeadlineMs = 30_000

const seed = Number(process.env['HAUS_TEST_SEED'] ?? randomInt(2 ** 31))
const env = { HAUS_ADVERTISE_ALLOW: '127.0.0.0/8', HAUS_LOG_LEVEL: 'warn' }

test(`${killsPerDatabase} kills of a house on the embedded database lose nothing acknowledged`, async (t) => {
  await crashRepeatedly(t, undefined)
})

const unavailable = postgresUnavailable()
test(
  `${killsPerDatabase} kills of a house or its PostgreSQL lose nothing acknowledged`,
  unavailable === undefined ? {} : { skip: unavailable },
  async (t) => {
    await using postgres = await startPostgres({ durable: true })
    await crashRepeatedly(t, postgres)
  },
)

async function crashRepeatedly(t: TestContext, postgres: PostgresServer | undefined) {
  const random = seededRandom(seed)
  t.diagnostic(`seed ${seed}`)
  const dataDir = postgres === undefined ? await folderWithDatabase() : temporaryFolder()
  const options = { dataDir, databaseUrl: postgres?.url, env }
  const book = new Book()
  const counts = { house: 0, database: 0, both: 0, opening: 0 }
  let house: House | undefined
  try {
    house = await startHouse(options)
    const writers = await createWriters(house, book)
    for (let round = 1; round <= killsPerDatabase; round += 1) {
      const victim = postgres === undefined ? 'house' : random.pick(victims)
      const load = startLoad(house, writers, book, random)
      const wanted = random.between(...acknowledgementsBeforeKill)
      const least = book.acknowledged + Math.min(wanted, leastAcknowledged)
      await load.acknowledged(wanted, loadDeadlineMs)
      if (book.acknowledged < least) {
        await load.acknowledged(least - book.acknowledged, leastDeadlineMs)
      }
      assert.ok(book.acknowledged >= least, `${book.acknowledged} acknowledged, round ${round}`)
      await Promise.all([
        victim === 'database' ? undefined : house.kill9(),
        victim === 'house' ? undefined : postgres?.kill9(),
      ])
      counts[victim] += 1
      await load.stop()

      const look = round % roundsBetweenLooks === 0 || round === killsPerDatabase
      if (look && postgres === undefined) await lookIntoCopy(dataDir, book)
      if (victim !== 'house') await postgres?.restart()
      if (victim === 'database') await waitForWrites(house)
      else {
        if (random.unit() < 0.2) {
          await attemptStart(options, random.between(20, 800))
          counts.opening += 1
        }
        house = await startHouse(options)
      }
      await checkThroughApi(house, writers, book, random)
      if (look && postgres !== undefined) await lookInto(postgres, book)
      assert.deepEqual(book.violations, [], `round ${round}, ${victim} killed, seed ${seed}`)
    }
    const { acknowledged, unanswered, settled } = book
    t.diagnostic(
      `kills ${JSON.stringify(counts)}; ${acknowledged} acknowledged, 0 missing; ${unanswered} unanswered, of them written ${settled.written}, not written ${settled.notWritten}`,
    )
  } catch (error) {
    t.diagnostic(`${house?.stdout() ?? ''}\n${house?.stderr() ?? ''}`.slice(-4_000))
    throw error
  } finally {
    await house?.[Symbol.asyncDispose]()
    fs.rmSync(dataDir, { recursive: true, force: true })
  }
}

const victims = ['house', 'house', 'house', 'database', 'both'] as const

async function waitForWrites(house: House): Promise<void> {
  await until(
    'writes are available again',
    async () => {
      const { body } = await house.operator.get('/health/ready')
      return body.writes === 'available'
    },
    writesBackDeadlineMs,
  )
}

async function lookIntoCopy(dataDir: string, book: Book): Promise<void> {
  await withEmbeddedCopy(dataDir, (query) => lookWith(query, book))
}

async function lookInto(postgres: PostgresServer, book: Book): Promise<void> {
  const client = new Client({ connectionString: postgres.url })
  await client.connect()
  try {
    await lookWith(async (sql, parameters) => (await client.query(sql, parameters)).rows, book)
  } finally {
    await client.end()
  }
}

async function lookWith(query: Query, book: Book): Promise<void> {
  await checkDatabase(query, book)
  await checkStructure(query, book)
}
