/**
 * An empty database of its own for every test, on the one PostgreSQL server of the run.
 *
 * `scripts/test.ts` starts that server and names it in `HAUS_TEST_POSTGRES_URL`; a test file run
 * alone starts one at first use. A test that kills or stops its server wants `startPostgres`.
 */
import { randomBytes } from 'node:crypto'
import { Client } from 'pg'
import { postgresUnavailable, startPostgres } from './postgres-server.ts'

/** Options for `test()`: skipped with the reason where there is no PostgreSQL to test on. */
export function needsPostgres(): { skip?: string } {
  const reason = process.env['HAUS_TEST_POSTGRES_URL'] ? undefined : postgresUnavailable()
  return reason === undefined ? {} : { skip: reason }
}

export type TestDatabase = {
  readonly url: string
  drop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export async function createTestDatabase(): Promise<TestDatabase> {
  const serverUrl = await sharedServerUrl()
  const name = `test_${randomBytes(8).toString('hex')}`
  await runOnce(serverUrl, `create database ${name} template template0`)
  const url = new URL(serverUrl)
  url.pathname = `/${name}`
  const drop = (): Promise<void> =>
    runOnce(serverUrl, `drop database if exists ${name} with (force)`)
  return { url: url.href, drop, [Symbol.asyncDispose]: drop }
}

async function runOnce(url: string, sql: string): Promise<void> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}

// One server per process is the point of this module; it ends with the process.
let lazyUrl: Promise<string> | undefined

/** The server of this run, or one that ends with this process. */
export async function sharedServerUrl(): Promise<string> {
  const given = process.env['HAUS_TEST_POSTGRES_URL']
  if (given) return given
  lazyUrl ??= startPostgres().then((server) => server.url)
  return lazyUrl
}
