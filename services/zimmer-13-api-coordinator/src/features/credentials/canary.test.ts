/** A value that must not be seen is written, read, changed and refused in every way; then it is looked for. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { databaseKinds, needsDatabase } from '../../testing/databases.ts'
import {
  openTestHouse,
  operatorDoes,
  serviceDoes,
  type TestHouse,
} from '../../testing/credentials-house.ts'

const canary = 'canary-7f3a91c2d4-must-not-be-seen'
const data = { password: canary }

/** As it is, and as it would look in a dump of bytes, a wire format or an inspected Buffer. */
const traces = [
  canary,
  Buffer.from(canary).toString('hex'),
  Buffer.from(canary).toString('base64').slice(0, 40),
  Buffer.from(canary.slice(0, 20))
    .toString('hex')
    .replaceAll(/..(?=.)/g, '$& '),
]

function assertAbsent(where: string, text: string): void {
  for (const trace of traces) assert.ok(!text.includes(trace), `the canary shows in ${where}`)
}

const inspected = (value: unknown): string =>
  inspect(value, {
    depth: 30,
    showHidden: true,
    maxArrayLength: null,
    maxStringLength: null,
    getters: true,
  })

async function dump({ database }: TestHouse): Promise<string> {
  const { rows: tables } = await database.pool.query<{ name: string }>(
    `select table_name as name from information_schema.tables where table_schema = 'haus'`,
  )
  assert.ok(tables.length > 10)
  const texts: string[] = []
  for (const { name } of tables) {
    const { rows } = await database.pool.query<{ text: string }>(
      `select t::text as text from haus.${name} t`,
    )
    texts.push(...rows.map(({ text }) => text))
  }
  return texts.join('\n')
}

for (const kind of databaseKinds) {
  test(
    `${kind}: a secret never shows in errors, logs, events, the database, ETags or inspected objects`,
    needsDatabase(kind),
    async () => {
      await using house = await openTestHouse(kind)
      const { credentials } = house
      const thrown: unknown[] = []
      const refused = async (attempt: () => Promise<unknown>): Promise<void> => {
        await assert.rejects(attempt, (error) => thrown.push(error) > 0)
      }
      const creating = operatorDoes('createCredential')
      const reading = serviceDoes('orders', 'getServiceCredentials')
      const made = await credentials.create({ name: 'a', data, services: ['orders'] }, creating)
      const doomed = await credentials.create({ name: 'b', data, services: ['orders'] }, creating)
      const added = await credentials.addVersion(
        made.id,
        { data },
        operatorDoes('addCredentialVersion'),
      )
      const updated = await credentials.update(
        made.id,
        { data, cas: 2 },
        operatorDoes('updateCredential'),
      )
      const answer = await credentials.readFor('orders', undefined, reading)
      assert.ok(String(answer.body).includes(canary), 'the canary is not where it has to be')
      await credentials.reveal(made.id, undefined, operatorDoes('revealCredential'))
      const granted = await credentials.grantedTo(
        'orders',
        undefined,
        serviceDoes('orders', 'registerInstance'),
      )
      assert.equal(granted.credentials['a']?.data['password'], canary)
      assert.ok(credentials.status().cachedBytes > 0)

      await refused(() => credentials.create({ name: 'a', data }, creating))
      await refused(() =>
        credentials.create({ name: 'c', data: { password: canary.repeat(2_000) } }, creating),
      )
      await refused(() =>
        credentials.create({ name: 'c', data, expiresAt: '2001-01-01T00:00:00Z' }, creating),
      )
      await refused(() =>
        credentials.addVersion(made.id, { data, cas: 1 }, operatorDoes('addCredentialVersion')),
      )
      await refused(() =>
        credentials.update(doomed.id, { data, cas: 9 }, operatorDoes('updateCredential')),
      )
      await refused(() =>
        credentials.readFor('orders', undefined, serviceDoes('evil', 'getServiceCredentials')),
      )
      await refused(() =>
        credentials.grantedTo('orders', ['c'], serviceDoes('orders', 'registerInstance')),
      )
      await refused(() => credentials.reveal(made.id, 99, operatorDoes('revealCredential')))
      await credentials.remove(doomed.id, operatorDoes('deleteCredential'))

      await credentials.readFor('orders', undefined, reading)
      await house.database.pool.query(
        `update haus.credential_version set blob = wrapped_key where version = 3`,
      )
      const restarted = await house.another()
      await refused(() => restarted.credentials.readFor('orders', undefined, reading))

      assert.equal(thrown.length, 9)
      assertAbsent(
        'errors',
        thrown
          .map(
            (error) =>
              `${inspected(error)}${JSON.stringify(error)}${String((error as Error).stack)}`,
          )
          .join('\n'),
      )
      assert.ok(restarted.logged.length > 0)
      assertAbsent('logs', [...house.logged, ...restarted.logged].join('\n'))
      assert.equal(house.events.length, 5)
      assertAbsent('events', JSON.stringify(house.events))
      assertAbsent(
        'metadata',
        JSON.stringify([made, added, updated, credentials.list({}), credentials.status()]),
      )
      assertAbsent('the ETag', answer.etag)
      assertAbsent('the database', await dump(house))
      assert.ok(credentials.status().cachedBytes > 0)
      assertAbsent(
        'inspected objects',
        inspected([credentials, house.view, house.ledger, credentials.status()]),
      )
    },
  )
}
