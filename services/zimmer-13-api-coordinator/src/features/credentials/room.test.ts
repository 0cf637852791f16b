import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openTestHouse, operatorDoes } from '../../testing/credentials-house.ts'
import { databaseKinds, needsDatabase } from '../../testing/databases.ts'

const creating = operatorDoes('createCredential')
const changing = operatorDoes('updateCredential')
const deleting = operatorDoes('deleteCredential')

/** How many of as many writes at once stand; the others have met a limit. */
async function countWritten(
  count: number,
  write: (n: number) => Promise<unknown>,
): Promise<number> {
  const results = await Promise.allSettled(Array.from({ length: count }, (_, n) => write(n)))
  for (const each of results) {
    if (each.status === 'rejected') assert.equal(each.reason.code, 'limit_reached')
  }
  return results.filter(({ status }) => status === 'fulfilled').length
}

for (const kind of databaseKinds) {
  const matrix = needsDatabase(kind)

  test(`${kind}: the house and each service have a limit, and say so`, matrix, async () => {
    await using house = await openTestHouse(kind, {
      limits: { credentials: 3, credentialsPerService: 1 },
    })
    const { credentials } = house
    const make = (name: string, services: string[]) =>
      credentials.create({ name, data: { a: 'b' }, services }, creating)
    await make('one', ['orders'])
    await assert.rejects(make('two', ['orders']), { code: 'limit_reached' })
    const two = await make('two', [])
    await assert.rejects(credentials.update(two.id, { services: ['orders'] }, changing), {
      code: 'limit_reached',
    })
    const three = await make('three', [])
    await assert.rejects(make('four', []), { code: 'limit_reached' })
    await credentials.remove(three.id, deleting)
    await make('four', [])
  })

  test(
    `${kind}: writes that come at once keep the limits together, and leave the room of those that failed`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind, {
        limits: { credentials: 12, credentialsPerService: 4 },
      })
      const { credentials } = house
      const make = (name: string, services: string[]) =>
        credentials.create({ name, data: { a: 'b' }, services }, creating)
      const granted = (service: string) => credentials.list({ service }).items.length

      await Promise.allSettled(Array.from({ length: 3 }, () => make('first', ['orders'])))
      assert.equal(granted('orders'), 1)
      const created = await countWritten(8, (n) => make(`c${n}`, ['orders']))
      assert.deepEqual([created, granted('orders')], [3, 4])

      const ids = await Promise.all(
        Array.from({ length: 6 }, async (_, n) => (await make(`u${n}`, [])).id),
      )
      const updated = await countWritten(6, (n) =>
        credentials.update(ids[n]!, { services: ['billing'], data: { n: `${n}` } }, changing),
      )
      assert.deepEqual([updated, granted('billing')], [4, 4])

      assert.equal(credentials.list({}).items.length, 10)
      assert.equal(await countWritten(6, (n) => make(`h${n}`, [])), 2)
      const { rows } = await house.database.pool.query(
        `select (select count(*) from haus.credential) as credentials,
          (select count(*) from haus.credential_grant) as grants`,
      )
      assert.deepEqual(rows, [{ credentials: 12, grants: 8 }])
    },
  )

  test(
    `${kind}: a write that the view has and nobody has been told of takes its room once`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind, {
        limits: { credentials: 2, credentialsPerService: 2 },
      })
      const make = (name: string) =>
        house.credentials.create({ name, data: { a: 'b' }, services: ['orders'] }, creating)
      let second: Promise<unknown> | undefined
      house.view.onChange(() => {
        second ??= make('second')
      })
      await make('first')
      await second
      assert.equal(house.view.grantedCount('orders'), 2)
    },
  )
}
