import assert from 'node:assert/strict'
import { after, test, type TestContext } from 'node:test'
import { HausError, type ErrorCode } from '@haus/contract'
import { migrations } from '../../migrations/index.ts'
import { systemClock } from '../../platform/clock/clock.ts'
import { systemRandom } from '../../platform/crypto/index.ts'
import type { RequestContext } from '../../platform/http/caller.ts'
import { createLedger } from '../../platform/ledger/index.ts'
import { createLog } from '../../platform/log/log.ts'
import {
  databaseKinds,
  needsDatabase,
  openTestDatabase,
  reuseDatabases,
} from '../../testing/databases.ts'
import type { Tables } from '../tables.ts'
import { RouteView } from './route-view.ts'
import { createGatewayRoutes } from './service.ts'

reuseDatabases(after)

const context: RequestContext = {
  caller: {
    kind: 'operator',
    actor: 'operator',
    service: null,
    expiresAtMonotonicMs: null,
    revoked: null,
  },
  operation: 'createGatewayRoute',
  requestId: 'a-request',
  source: '127.0.0.1',
}

async function open(t: TestContext, kind: (typeof databaseKinds)[number]) {
  const database = await openTestDatabase<Tables>(kind, { migrations })
  t.after(() => database.cleanup())
  const view = new RouteView()
  const ledger = createLedger<Tables>({
    database,
    clock: systemClock,
    log: createLog({ level: 'silent' }),
    projections: [view],
    writeTimeoutMs: 30_000,
  })
  await ledger.start()
  t.after(() => ledger.stop(5_000))
  const routes = createGatewayRoutes({
    ledger,
    view,
    clock: systemClock,
    random: systemRandom,
    canonicalService: (name) => (name === 'zimmer-21' ? 'orders' : name),
  })
  /** What another process, or this one after a restart, reads from the tables. */
  const stored = async () => {
    const again = new RouteView()
    await again.load(database.db)
    return again.all()
  }
  return { view, routes, stored }
}

function refusedWith(code: ErrorCode) {
  return (error: unknown): boolean => error instanceof HausError && error.code === code
}

const shop = { pathPrefix: '/shop', service: 'zimmer-21', stripPrefix: true }

for (const kind of databaseKinds) {
  test(
    `on ${kind}, a route is the same in memory, in the answer and after a restart`,
    needsDatabase(kind),
    async (t) => {
      const { view, routes, stored } = await open(t, kind)
      let told = 0
      view.onChange(() => {
        told += 1
      })
      const made = await routes.create(
        { ...shop, host: 'shop.example', methods: ['POST', 'GET'], bodyMaxBytes: 5 },
        context,
      )
      assert.equal(made.service, 'orders', 'an alias may lead elsewhere later')
      assert.deepEqual(made.methods, ['GET', 'POST'])
      assert.equal(told, 1, 'the gateway hears of it before the writer does')
      assert.deepEqual(routes.get(made.id), made)
      assert.deepEqual(await stored(), [made])

      const changed = await routes.update(made.id, { ...shop, cas: 1 }, context)
      assert.equal(changed.revision, 2)
      assert.equal(changed.host, null)
      assert.equal(changed.methods, null)
      assert.deepEqual(await stored(), [changed])

      await routes.remove(made.id, context)
      await routes.remove(made.id, context)
      assert.deepEqual(routes.list({}).items, [])
      assert.deepEqual(await stored(), [])
    },
  )

  test(
    `on ${kind}, two routes never publish the same, also when both are made at once`,
    needsDatabase(kind),
    async (t) => {
      const { routes, stored } = await open(t, kind)
      const outcomes = await Promise.allSettled(
        [1, 2, 3].map(() => routes.create({ ...shop, methods: ['GET'] }, context)),
      )
      assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') assert.ok(refusedWith('route_taken')(outcome.reason))
      }
      const other = await routes.create({ ...shop, methods: ['POST'] }, context)
      await assert.rejects(
        routes.update(other.id, { ...shop, methods: ['GET'], cas: 1 }, context),
        refusedWith('route_taken'),
      )
      assert.equal((await stored()).length, 2)
    },
  )

  test(
    `on ${kind}, a change from an old reading is refused and changes nothing`,
    needsDatabase(kind),
    async (t) => {
      const { routes, stored } = await open(t, kind)
      const { id } = await routes.create(shop, context)
      const outcomes = await Promise.allSettled(
        ['/a', '/b'].map((pathPrefix) =>
          routes.update(id, { ...shop, pathPrefix, cas: 1 }, context),
        ),
      )
      const lost = outcomes.filter((outcome) => outcome.status === 'rejected')
      assert.equal(lost.length, 1)
      assert.ok(refusedWith('version_conflict')(lost[0]?.reason))
      await assert.rejects(
        routes.update(id, { ...shop, cas: 1 }, context),
        refusedWith('version_conflict'),
      )
      assert.equal((await stored())[0]?.revision, 2)
      await assert.rejects(
        routes.update('01933b6e-7c00-7000-8000-00000000000f', { ...shop, cas: 1 }, context),
        refusedWith('gateway_route_not_found'),
      )
    },
  )
}

test('a list goes on where its page ended', needsDatabase('embedded'), async (t) => {
  const { routes } = await open(t, 'embedded')
  for (const name of ['a', 'b', 'c'])
    await routes.create({ ...shop, pathPrefix: `/${name}` }, context)
  const first = routes.list({ limit: 2 })
  assert.deepEqual(
    first.items.map(({ pathPrefix }) => pathPrefix),
    ['/a', '/b'],
  )
  const second = routes.list({ limit: 2, cursor: first.nextCursor ?? '' })
  assert.deepEqual(
    second.items.map(({ pathPrefix }) => pathPrefix),
    ['/c'],
  )
  assert.equal(second.nextCursor, null)
})
