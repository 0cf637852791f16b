// Longer than 600 lines because every promise of the registry runs on both databases from one stage.
import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import type net from 'node:net'
import { test } from 'node:test'
import { HausError, instancesPerServiceMax, servicesMax, type ErrorCode } from '@haus/contract'
import { migrations } from '../../migrations/index.ts'
import { systemClock } from '../../platform/clock/clock.ts'
import { systemRandom } from '../../platform/crypto/random.ts'
import type { RequestContext } from '../../platform/http/caller.ts'
import { createLedger, type RunningLedger } from '../../platform/ledger/index.ts'
import type { Log } from '../../platform/log/log.ts'
import {
  databaseKinds,
  needsDatabase,
  openTestDatabase,
  silentLog,
  type TestDatabase,
} from '../../testing/databases.ts'
import { ManualClock } from '../../testing/manual-clock.ts'
import { createTestView } from '../../testing/registry-view.ts'
import { until } from '../../testing/until.ts'
import type { Tables } from '../tables.ts'
import type { GrantedCredentials, RegistrationCredentials } from './credentials-port.ts'
import { configChanged, instanceRegistered, serviceChanged } from './records.ts'
import { createRegistry, type Registry } from './registry.ts'
import type { RegistryView } from './view.ts'

const log = silentLog as Log

interface TestHouse extends AsyncDisposable {
  readonly registry: Registry
  readonly view: RegistryView
  readonly ledger: RunningLedger
  readonly clock: ManualClock
  readonly database: TestDatabase<Tables>
  readonly grants: Map<string, Map<string, number>>
  readonly liveKeys: Map<string, number>
  /** Runs whenever credentials have been looked up, before they are answered. */
  onLookup: (() => void | Promise<void>) | undefined
  /** The process ends without a word and starts again on the same data. */
  restart(): Promise<TestHouse>
}

/** The ledger runs on real time, leases and probes on a clock that the test moves. */
async function openHouse(database: TestDatabase<Tables>): Promise<TestHouse> {
  const clock = new ManualClock()
  const grants = new Map<string, Map<string, number>>()
  const liveKeys = new Map<string, number>()
  const holdingsOf = (name: string) => ({
    liveKeys: liveKeys.get(name) ?? 0,
    grants: grants.get(name)?.size ?? 0,
  })
  const view = createTestView({ holdingsOf })
  const lookedUp = async (): Promise<void> => house.onLookup?.()
  const ledger = createLedger<Tables>({
    database,
    clock: systemClock,
    log,
    projections: [view],
    writeTimeoutMs: 30_000,
  })
  const registry = createRegistry({
    database,
    ledger,
    view,
    credentials: credentialsFrom(grants, lookedUp),
    holdingsOf,
    clock,
    random: systemRandom,
    log,
    advertiseAllow: [],
    ownListeners: () => [{ address: '127.0.0.1', port: 8000 }],
  })
  await ledger.start()
  await registry.start()
  let stopped: Promise<void> | undefined
  const stopOnce = (): Promise<void> => (stopped ??= stop())
  const stop = async (): Promise<void> => {
    await registry.stop()
    await ledger.stop(1_000)
    assert.equal(clock.pending, 0, 'a stopped registry leaves no timer')
  }
  const house: TestHouse = {
    registry,
    view,
    ledger,
    clock,
    database,
    grants,
    liveKeys,
    onLookup: undefined,
    async restart() {
      await stopOnce()
      return openHouse(database)
    },
    [Symbol.asyncDispose]: stopOnce,
  }
  return house
}

function credentialsFrom(
  grants: ReadonlyMap<string, Map<string, number>>,
  lookedUp: () => Promise<void>,
): RegistrationCredentials {
  const versionsOf = (service: string) => Object.fromEntries(grants.get(service) ?? [])
  return {
    versionsOf,
    async grantedTo(service, names) {
      const granted = versionsOf(service)
      const versions: Record<string, number> = {}
      const credentials: Record<string, GrantedCredentials[string]> = {}
      for (const name of names ?? Object.keys(granted)) {
        const version = granted[name]
        if (version === undefined) {
          throw new HausError('credential_not_granted', `"${name}" is not granted to "${service}".`)
        }
        const id = '01933b6e-7c00-7000-8000-000000000002'
        versions[name] = version
        credentials[name] = { id, version, data: { password: `of ${name}` }, expiresAt: null }
      }
      await lookedUp()
      return {
        credentials,
        auditDetail: { credentials: versions },
        isCurrent: () =>
          Object.entries(versions).every(
            ([name, version]) => grants.get(service)?.get(name) === version,
          ),
      }
    },
  }
}

function as(service: string | null, operation = 'registerInstance'): RequestContext {
  return {
    caller: {
      kind: service === null ? 'operator' : 'service',
      actor: service === null ? 'operator' : `service:${service}`,
      service,
      expiresAtMonotonicMs: null,
      revoked: null,
    },
    operation,
    requestId: '01933b6e-7c00-7000-8000-000000000004',
    source: '127.0.0.1',
  }
}

interface Zimmer extends AsyncDisposable {
  readonly port: number
  readonly server: Server
  /** What `/up` answers; `hangs`: nothing. */
  status: number
  readonly seen: { readonly url: string; readonly agent: string | undefined }[]
  /** As `kill -9` would: the port refuses at once. */
  die(): Promise<void>
}

const hangs = 0

async function openZimmer(port = 0): Promise<Zimmer> {
  const seen: Zimmer['seen'] = []
  const server = createServer((request, response) => {
    seen.push({ url: request.url ?? '', agent: request.headers['user-agent'] })
    if (zimmer.status === hangs) return
    response.statusCode = zimmer.status
    response.end('up')
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const die = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  const { port: bound } = server.address() as net.AddressInfo
  const zimmer: Zimmer = { port: bound, server, status: 200, seen, die, [Symbol.asyncDispose]: die }
  return zimmer
}

const registration = (name: string, port: number) => ({
  name,
  port,
  version: '1.0.0',
  healthEndpoint: '/up',
})

function discovered(house: TestHouse, service: string) {
  return JSON.parse(house.registry.discover({ service }).toString()) as {
    address: string | null
    port: number | null
    health: string
    instances: { id: string; port: number; health: string }[]
  }
}

function lastAudit(database: TestDatabase<Tables>) {
  return database.db
    .selectFrom('audit')
    .select(['action', 'outcome', 'code', 'detail'])
    .orderBy('id', 'desc')
    .limit(1)
    .executeTakeFirst()
}

/** For a hundred writes, one after another, on a machine that is shared. */
const patientMs = 60_000

async function setLastSeen(database: TestDatabase<Tables>, ago: string): Promise<void> {
  await database.pool.query('update haus.instance set last_seen_at = now() - $1::interval', [ago])
}

/** Between the commit of the next change and its answer. */
function whenApplied(house: TestHouse, run: () => void): void {
  const stop = house.view.onChange(() => {
    stop()
    run()
  })
}

async function refusedWith(code: ErrorCode, run: () => unknown): Promise<HausError> {
  try {
    await run()
  } catch (error) {
    assert(error instanceof HausError, String(error))
    assert.equal(error.code, code, error.message)
    return error
  }
  return assert.fail(`not refused with ${code}`)
}

for (const kind of databaseKinds) {
  // One database for all of them: opening one costs more than a promise does.
  test(`${kind}: the registry`, needsDatabase(kind), async (suite) => {
    await using database = await openTestDatabase<Tables>(kind, { migrations })
    const promise = (name: string, keep: (house: TestHouse) => Promise<void>): Promise<void> =>
      suite.test(name, async () => {
        await database.pool.query(
          'truncate haus.service, haus.instance, haus.service_config, haus.audit',
        )
        await using house = await openHouse(database)
        await keep(house)
      })
    await promise(
      'a registration answers with lease, credentials, config and verdict, and is in the database',
      async (house) => {
        await using zimmer = await openZimmer()
        house.grants.set('orders', new Map([['orders-database', 3]]))
        await house.registry.putConfig('orders', { data: { pageSize: 50 } }, as(null))
        const answer = await house.registry.register(
          registration('orders', zimmer.port),
          as('orders'),
        )
        assert.equal(answer.incarnation, 1)
        assert.equal(answer.leaseTtlSeconds, 30)
        assert.deepEqual(answer.config, { version: 1, data: { pageSize: 50 } })
        assert.equal(answer.credentials['orders-database']?.version, 3)
        const { advertise } = answer
        assert.deepEqual(advertise, { state: 'reachable', address: '127.0.0.1', port: zimmer.port })
        assert.deepEqual(zimmer.seen, [{ url: '/up', agent: 'haus' }])
        // The probe has passed: discovery says so at once, and the record follows.
        assert.equal(discovered(house, 'orders').health, 'healthy')
        await until('the state is written', async () => {
          const row = await house.database.db
            .selectFrom('instance')
            .select(['state', 'incarnation'])
            .executeTakeFirst()
          return row?.state === 'healthy' && row.incarnation === 1
        })
        const audits = await house.database.db
          .selectFrom('audit')
          .select(['actor', 'action', 'target', 'detail'])
          .where('action', '=', 'registerInstance')
          .where('actor', '=', 'service:orders')
          .execute()
        assert.deepEqual(audits[0]?.detail['credentials'], { 'orders-database': 3 })
        assert(!JSON.stringify(audits).includes('of orders-database'), 'no value in the audit')
      },
    )

    await promise(
      'the same service, address and port is the same instance, and the start before it cannot speak',
      async (house) => {
        await using zimmer = await openZimmer()
        const request = registration('orders', zimmer.port)
        const first = await house.registry.register(request, as('orders'))
        const second = await house.registry.register(request, as('orders'))
        assert.equal(second.instanceId, first.instanceId)
        assert.equal(second.incarnation, 2)
        const { instanceId: id } = first
        const error = await refusedWith('stale_incarnation', () =>
          house.registry.heartbeat('orders', id, { incarnation: 1 }),
        )
        assert.equal(error.status, 409)
        assert.equal(house.registry.heartbeat('orders', id, { incarnation: 2 }).state, 'healthy')
        await refusedWith('instance_not_found', () =>
          house.registry.heartbeat('orders', id, { incarnation: 3 }),
        )
        // A late shutdown of the first start leaves the second alone.
        await house.registry.deregister('orders', id, 1, as('orders'))
        assert.equal(house.view.instance(id)?.incarnation, 2)
        await house.registry.deregister('orders', id, 2, as('orders'))
        assert.equal(house.view.instance(id), undefined)
        await house.registry.deregister('orders', id, 2, as('orders'))
        await house.registry.deregister('nobody', id, undefined, as(null))
        await refusedWith('instance_not_found', () =>
          house.registry.heartbeat('orders', id, { incarnation: 2 }),
        )
      },
    )

    await promise(
      'starts of one instance that register at once get one incarnation each',
      async (house) => {
        await using zimmer = await openZimmer()
        const request = registration('orders', zimmer.port)
        const answers = await Promise.all(
          Array.from({ length: 4 }, () => house.registry.register(request, as('orders'))),
        )
        assert.deepEqual(
          answers.map(({ incarnation }) => incarnation).toSorted((a, b) => a - b),
          [1, 2, 3, 4],
        )
        assert.equal(new Set(answers.map(({ instanceId }) => instanceId)).size, 1)
        const row = await house.database.db.selectFrom('instance').selectAll().executeTakeFirst()
        assert.equal(row?.incarnation, 4)
      },
    )

    await promise(
      'a credential that is missing refuses the registration, names it, and nothing is written',
      async (house) => {
        house.grants.set('orders', new Map([['orders-database', 1]]))
        const credentialsNeeded = ['orders-database', 'payment-key']
        const request = { ...registration('orders', 9), credentialsNeeded }
        const error = await refusedWith('credential_not_granted', () =>
          house.registry.register(request, as('orders')),
        )
        assert.match(error.message, /payment-key/)
        assert.deepEqual(house.view.counts, { services: 0, instances: 0 })
        const written = await house.database.db.selectFrom('audit').selectAll().execute()
        assert.deepEqual(written, [])
      },
    )

    await promise(
      'a credential that changes while the registration is written leaves in its new version, on record; one that is revoked takes it back',
      async (house) => {
        const granted = new Map([['orders-database', 1]])
        house.grants.set('orders', granted)
        const request = registration('orders', 9)
        whenApplied(house, () => granted.set('orders-database', 2))
        const answer = await house.registry.register(request, as('orders'))
        assert.equal(answer.credentials['orders-database']?.version, 2)
        const audits = await house.database.db
          .selectFrom('audit')
          .select('detail')
          .orderBy('id')
          .execute()
        assert.deepEqual(
          audits.map(({ detail }) => detail['credentials']),
          [{ 'orders-database': 1 }, { 'orders-database': 2 }],
        )
        const credentialsNeeded = ['orders-database']
        whenApplied(house, () => granted.delete('orders-database'))
        await refusedWith('credential_not_granted', () =>
          house.registry.register({ ...request, credentialsNeeded }, as('orders')),
        )
        assert.deepEqual(house.view.counts, { services: 1, instances: 0 })
        const last = await lastAudit(database)
        assert.deepEqual(
          [last?.action, last?.outcome, last?.code, last?.detail['takenBack']],
          ['registerInstance', 'failed', 'credential_not_granted', true],
        )
      },
    )

    await promise(
      'a registration whose key is revoked while it is answered does not stand',
      async (house) => {
        const revoked = new AbortController()
        const context = as('orders')
        const caller = { ...context.caller, revoked: revoked.signal }
        whenApplied(house, () => revoked.abort())
        await refusedWith('token_revoked', () =>
          house.registry.register(registration('orders', 9), { ...context, caller }),
        )
        assert.deepEqual(house.view.counts, { services: 1, instances: 0 })
        const last = await lastAudit(database)
        assert.deepEqual([last?.code, last?.detail['takenBack']], ['token_revoked', true])
      },
    )

    await promise('an address that is not one’s own is refused on record', async (house) => {
      const request = { ...registration('orders', 80), address: '169.254.169.254' }
      await refusedWith('advertise_refused', () => house.registry.register(request, as('orders')))
      assert.deepEqual(house.view.counts, { services: 0, instances: 0 })
      const last = await lastAudit(database)
      assert.deepEqual(
        [last?.action, last?.outcome, last?.code, last?.detail],
        [
          'registerInstance',
          'denied',
          'advertise_refused',
          { address: '169.254.169.254', port: 80 },
        ],
      )
    })

    await promise(
      'whatever fails after a registration is written takes it back on record, and what cannot be taken back is said to be unknown',
      async (house) => {
        const granted = new Map([['orders-database', 1]])
        house.grants.set('orders', granted)
        const request = registration('orders', 9)
        const register = () => house.registry.register(request, as('orders'))
        const change = (): void => {
          granted.set('orders-database', (granted.get('orders-database') ?? 0) + 1)
        }
        const rows = () => database.db.selectFrom('instance').select('id').execute()

        // Again and again: each version is old before it can leave.
        house.onLookup = change
        await refusedWith('version_conflict', register)
        assert.deepEqual(house.view.counts, { services: 1, instances: 0 })
        assert.deepEqual(await rows(), [])
        const conflict = await lastAudit(database)
        assert.deepEqual([conflict?.outcome, conflict?.code], ['failed', 'version_conflict'])

        // Something of which nobody has thought, on the second lookup.
        const onSecondLookup = (run: () => void | Promise<void>): void => {
          house.onLookup = () => {
            change()
            house.onLookup = run
          }
        }
        onSecondLookup(() => {
          throw new Error('a mistake')
        })
        await assert.rejects(register, { message: 'a mistake' })
        assert.equal(house.view.counts.instances, 0)
        assert.deepEqual(await rows(), [])
        assert.equal((await lastAudit(database))?.code, 'internal_error')

        onSecondLookup(async () => {
          await database.pool.query('alter table haus.instance rename to instance_away')
          throw new HausError('writes_unavailable', 'Nothing was written.')
        })
        const error = await refusedWith('write_outcome_unknown', register)
        await database.pool.query('alter table haus.instance_away rename to instance')
        assert.match(error.message, /register again/)
        assert.equal(house.view.counts.instances, 1, 'it stands, and the view says so')

        house.onLookup = undefined
        assert.equal((await register()).incarnation, 2)
      },
    )

    await promise(
      'a dead instance leaves discovery within a second of the first evidence, and returns when it answers',
      async (house) => {
        await using stays = await openZimmer()
        const dies = await openZimmer()
        await house.registry.register(registration('orders', stays.port), as('orders'))
        const victim = await house.registry.register(
          registration('orders', dies.port),
          as('orders'),
        )
        assert.equal(discovered(house, 'orders').instances.length, 2)
        await dies.die()
        const { instanceId: id, incarnation } = victim
        const reason = 'connection refused'
        house.registry.report(id, incarnation, { kind: 'doubted', reason })
        // Withheld at once, since a sibling can serve.
        assert.deepEqual(
          discovered(house, 'orders').instances.map(({ port }) => port),
          [stays.port],
        )
        const startedMs = house.clock.monotonicMs()
        await until('it is offline', () => {
          house.clock.advance(10)
          return house.registry
            .serviceHealth('orders', as(null))
            .instances.some(({ id: other, state }) => other === id && state === 'offline')
        })
        assert(house.clock.monotonicMs() - startedMs >= 600, 'not before its third probe')
        await until('it is on record', () => house.view.instance(id)?.state === 'offline')
        assert.equal(house.view.instance(id)?.reason, reason)

        await using back = await openZimmer(dies.port)
        await until('it is back', () => {
          house.clock.advance(100)
          return discovered(house, 'orders').instances.length === 2
        })
        assert(back.seen.length >= 2, 'two successes bring it back')
      },
    )

    await promise(
      'one that hangs is offline after its rechecks, its checks tell why, and in maintenance nobody looks',
      async (house) => {
        const { registry, clock } = house
        await using zimmer = await openZimmer()
        const request = { ...registration('orders', zimmer.port), healthIntervalSeconds: 5 }
        const { instanceId: id } = await registry.register(request, as('orders'))
        zimmer.status = hangs
        await until('it is offline', () => {
          clock.advance(100)
          return discovered(house, 'orders').health === 'offline'
        })
        const report = registry.instanceChecks('orders', id, as('orders'))
        assert.equal(report.state, 'offline')
        assert.equal(report.healthIntervalSeconds, 5)
        const failed = report.checks.filter(({ ok }) => !ok)
        assert(failed.length >= 3, JSON.stringify(report.checks))
        assert(report.uptime24h !== null && report.uptime24h < 1)
        assert.equal(report.lastFailure?.at, failed[0]?.at)
        assert.match(report.lastFailure?.reason ?? '', /^no (answer|connection) within/)
        const [shown] = registry.serviceHealth('orders', as(null)).instances
        assert.deepEqual(shown?.lastFailure, report.lastFailure)

        await registry.updateInstance('orders', id, { maintenance: true }, as(null))
        const before = zimmer.seen.length
        clock.advance(60_000)
        await new Promise(setImmediate)
        assert.equal(zimmer.seen.length, before)
        zimmer.status = 200
        await registry.updateInstance('orders', id, { maintenance: false }, as(null))
        await until('it works', () => {
          clock.advance(100)
          return discovered(house, 'orders').health === 'healthy'
        })
        await refusedWith('instance_not_found', () =>
          registry.instanceChecks('orders', '01933b6e-7c00-7000-8000-000000000009', as(null)),
        )
        await refusedWith('forbidden', () => registry.instanceChecks('orders', id, as('billing')))
      },
    )

    await promise(
      'how often a service is checked is what was said last, and a restart knows it',
      async (house) => {
        const { registry } = house
        const closed = { version: '1.0.0', port: 9 }
        const paceOf = (of: TestHouse) =>
          of.registry.getService('orders', as(null)).healthIntervalSeconds
        await registry.register({ name: 'orders', ...closed }, as('orders'))
        assert.equal(paceOf(house), 30)
        await registry.updateService(
          'orders',
          { healthIntervalSeconds: 300 },
          as(null, 'updateService'),
        )
        assert.equal(paceOf(house), 300)
        assert.deepEqual((await lastAudit(database))?.detail, { healthIntervalSeconds: 300 })
        await registry.updateService('orders', { aliases: ['zimmer-21'] }, as(null))
        await registry.register({ name: 'orders', ...closed }, as('orders'))
        assert.equal(paceOf(house), 300, 'nobody said anything else')
        await using again = await house.restart()
        assert.equal(paceOf(again), 300)
        const asked = { name: 'orders', ...closed, healthIntervalSeconds: 10 }
        await again.registry.register(asked, as('orders'))
        assert.equal(paceOf(again), 10)
        assert.deepEqual(again.registry.getService('orders', as(null)).aliases, ['zimmer-21'])
      },
    )

    await promise(
      'an expired lease with a passing probe keeps the instance; one with nobody behind it goes',
      async (house) => {
        await using alive = await openZimmer()
        const dead = await openZimmer()
        const kept = await house.registry.register(registration('orders', alive.port), as('orders'))
        const gone = await house.registry.register(registration('orders', dead.port), as('orders'))
        await dead.die()
        for (let second = 0; second < 29; second++) house.clock.advance(1_000)
        const states = () =>
          new Map(
            house.registry
              .serviceHealth('orders', as(null))
              .instances.map(({ id, state }) => [id, state]),
          )
        assert.equal(states().get(gone.instanceId), 'healthy', 'its lease still runs')
        await until('the dead one is offline, the living one is not', () => {
          house.clock.advance(50)
          return (
            states().get(gone.instanceId) === 'offline' &&
            states().get(kept.instanceId) === 'healthy'
          )
        })
        assert(house.clock.monotonicMs() < 40_000)
        assert.deepEqual(
          discovered(house, 'orders').instances.map(({ id }) => id),
          [kept.instanceId],
        )
      },
    )

    await promise(
      'after a restart everything acknowledged is there, and every lease has a fresh term',
      async (house) => {
        await using zimmer = await openZimmer()
        const request = { ...registration('orders', zimmer.port), tags: ['a'], zone: 'north' }
        const { instanceId: id } = await house.registry.register(request, as('orders'))
        await until('the state is written', () => house.view.instance(id)?.state === 'healthy')
        await house.registry.updateService('orders', { aliases: ['zimmer-21'] }, as(null))
        const before = house.registry.getService('orders', as(null))
        await using again = await house.restart()
        assert.deepEqual(again.registry.getService('zimmer-21', as(null)), before)
        await zimmer.die()
        for (let second = 0; second < 28; second++) again.clock.advance(1_000)
        assert.equal(discovered(again, 'orders').health, 'healthy')
        assert.equal(again.registry.heartbeat('orders', id, { incarnation: 1 }).state, 'healthy')
      },
    )

    await promise(
      'while writes fail a dead instance leaves discovery all the same, and the record follows when they are back',
      async (house) => {
        const dies = await openZimmer()
        const request = registration('orders', dies.port)
        const { instanceId: id } = await house.registry.register(request, as('orders'))
        await until('the state is written', () => house.view.instance(id)?.state === 'healthy')
        // Every write of a state fails, as with a full disk; reads go on.
        await house.database.pool.query('alter table haus.instance rename to instance_away')
        await dies.die()
        house.registry.report(id, 1, { kind: 'doubted', reason: 'connection refused' })
        await until('discovery knows', () => {
          house.clock.advance(10)
          return discovered(house, 'orders').address === null
        })
        assert.notEqual(house.view.instance(id)?.state, 'offline', 'nothing is pretended')
        await house.database.pool.query('alter table haus.instance_away rename to instance')
        await until('the record follows', () => {
          house.clock.advance(100)
          return house.view.instance(id)?.state === 'offline'
        })
      },
    )

    await promise(
      'weight, draining and maintenance; what an operator set outlives a new start',
      async (house) => {
        await using zimmer = await openZimmer()
        const request = registration('orders', zimmer.port)
        const { instanceId: id } = await house.registry.register(request, as('orders'))
        const change = (body: object) => house.registry.updateInstance('orders', id, body, as(null))
        assert.equal((await change({ weight: 50 })).weight, 50)
        assert.equal((await change({ draining: true })).state, 'draining')
        assert.equal(discovered(house, 'orders').address, null)
        assert.equal((await change({ maintenance: true })).state, 'maintenance')
        await zimmer.die()
        house.registry.report(id, 1, { kind: 'doubted', reason: 'connection refused' })
        for (let second = 0; second < 60; second++) house.clock.advance(1_000)
        const again = await house.registry.register(request, as('orders'))
        const shown = house.registry.getService('orders', as('orders')).instances[0]
        assert.deepEqual(
          [shown?.state, shown?.weight, shown?.draining, again.incarnation],
          ['maintenance', 50, false, 2],
        )
        await using back = await openZimmer(zimmer.port)
        assert.equal((await change({ maintenance: false })).state, 'pending')
        await until('it is seen working', () => {
          house.clock.advance(100)
          return discovered(house, 'orders').health === 'healthy'
        })
        assert(back.seen.length > 0)
        await refusedWith('instance_not_found', () =>
          house.registry.updateInstance('orders', '0'.repeat(36), { weight: 1 }, as(null)),
        )
      },
    )

    await promise(
      'a service sees itself and its dependencies, page by page; an operator sees all',
      async (house) => {
        const closed = { version: '1.0.0', port: 9 }
        await house.registry.register({ ...closed, name: 'stock' }, as('stock'))
        await house.registry.register({ ...closed, name: 'secret' }, as('secret'))
        await house.registry.updateService('stock', { aliases: ['zimmer-stock'] }, as(null))
        const { warnings } = await house.registry.register(
          { ...closed, name: 'orders', dependencies: ['zimmer-stock', 'unknown'] },
          as('orders'),
        )
        assert.deepEqual(warnings, ['dependency "unknown" has never registered'])
        const cycle = await house.registry.register(
          { ...closed, name: 'stock', dependencies: ['orders'] },
          as('stock'),
        )
        assert.deepEqual(cycle.warnings, ['dependency cycle: stock -> orders -> stock'])
        const names = (page: { items: readonly { name: string }[] }) =>
          page.items.map(({ name }) => name)
        assert.deepEqual(names(house.registry.listServices({}, as('orders'))), ['orders', 'stock'])
        const first = house.registry.listServices({ limit: 2 }, as(null))
        assert.deepEqual(names(first), ['orders', 'secret'])
        const cursor = first.nextCursor ?? ''
        const second = house.registry.listServices({ limit: 2, cursor }, as(null))
        assert.deepEqual([names(second), second.nextCursor], [['stock'], null])
        await refusedWith('invalid_request', () =>
          house.registry.listServices({ cursor: 'guess' }, as(null)),
        )
        await refusedWith('forbidden', () => house.registry.getService('secret', as('orders')))
        await refusedWith('service_not_found', () => house.registry.getService('nobody', as(null)))
        const { dependents } = house.registry.getService('stock', as(null))
        assert.deepEqual(dependents, ['orders'])
      },
    )

    await promise(
      'an alias is unique among names and aliases, also when two are set at once',
      async (house) => {
        const closed = { version: '1.0.0', port: 9 }
        await house.registry.register({ ...closed, name: 'orders' }, as('orders'))
        await house.registry.register({ ...closed, name: 'stock' }, as('stock'))
        const outcomes = await Promise.allSettled([
          house.registry.updateService('orders', { aliases: ['twin'] }, as(null)),
          house.registry.updateService('stock', { aliases: ['twin'] }, as(null)),
          house.registry.register({ ...closed, name: 'twin' }, as('twin')),
        ])
        const stood = outcomes.filter(({ status }) => status === 'fulfilled')
        assert.equal(stood.length, 1, JSON.stringify(outcomes))
        await refusedWith('name_taken', () =>
          house.registry.updateService('orders', { aliases: ['stock'] }, as(null)),
        )
        await refusedWith('name_taken', () =>
          house.registry.updateService('orders', { aliases: ['orders'] }, as(null)),
        )
        await refusedWith('invalid_request', () =>
          house.registry.updateService('orders', { aliases: ['gateway'] }, as(null)),
        )
        await refusedWith('invalid_request', () =>
          house.registry.register({ ...closed, name: 'metrics' }, as(null)),
        )
        // An alias is valid wherever the name is, also for the service's own registration.
        await house.registry.updateService('orders', { aliases: ['other'] }, as(null))
        const answer = await house.registry.register({ ...closed, name: 'other' }, as('orders'))
        assert.equal(answer.service, 'orders')
        assert.equal(discovered(house, 'other').instances.length, 1)
        await refusedWith('forbidden', () =>
          house.registry.register({ ...closed, name: 'other' }, as('stock')),
        )
      },
    )

    await promise(
      'a name with keys or grants of its own does not become an alias, behind which nobody could reach them',
      async (house) => {
        const { registry, grants, liveKeys } = house
        await registry.register({ version: '1.0.0', port: 9, name: 'orders' }, as('orders'))
        const aliased = (aliases: string[]) =>
          registry.updateService('orders', { aliases }, as(null, 'updateService'))
        liveKeys.set('shop', 2)
        grants.set('shop', new Map([['shop-database', 1]]))
        const both = await refusedWith('name_taken', () => aliased(['till', 'shop']))
        assert.deepEqual(both.fields, [
          {
            field: '/aliases/1',
            detail:
              '"shop" has 2 live keys and 1 granted credential of its own, out of reach behind an alias: revoke its keys and take back its grants first',
          },
        ])
        assert.deepEqual(house.view.service('orders')?.record.aliases, [], 'nothing half-written')
        liveKeys.delete('shop')
        const granted = await refusedWith('name_taken', () => aliased(['shop']))
        assert.match(granted.message, /"shop" has 1 granted credential of its own/)
        grants.delete('shop')
        await aliased(['shop'])
        // Found so in an old house: what is an alias already does not stand in the way of others.
        liveKeys.set('shop', 1)
        assert.deepEqual((await aliased(['shop', 'till'])).aliases, ['till'], 'it leads nowhere')
        const { record } = house.view.service('orders') ?? {}
        assert.deepEqual(record?.aliases, ['shop', 'till'])
        assert.equal(house.view.canonicalService('shop'), 'shop')
      },
    )

    await promise(
      'a configuration has versions, a compare-and-set that lost says which, and heartbeats tell',
      async (house) => {
        const { registry } = house
        assert.deepEqual(registry.getConfig('orders'), { version: 0, data: {} })
        const { instanceId: id } = await registry.register(registration('orders', 9), as('orders'))
        await registry.putConfig('orders', { data: { a: 1 }, cas: 0 }, as(null))
        const error = await refusedWith('version_conflict', () =>
          registry.putConfig('orders', { data: { a: 2 }, cas: 0 }, as(null)),
        )
        assert.match(error.message, /current version is 1/)
        const { changed } = registry.heartbeat('orders', id, { incarnation: 1 })
        assert.equal(changed.configVersion, 1)
        const { changed: after } = registry.heartbeat('orders', id, {
          incarnation: 1,
          configVersion: 1,
        })
        assert.equal(after.configVersion, null)
        await refusedWith('body_too_large', () =>
          registry.putConfig('orders', { data: { big: 'x'.repeat(65_536) } }, as(null)),
        )
        const versions = await Promise.all(
          [1, 2, 3].map((a) => registry.putConfig('orders', { data: { a } }, as(null))),
        )
        assert.deepEqual(
          versions.map(({ version }) => version).toSorted((a, b) => a - b),
          [2, 3, 4],
        )
      },
    )

    await promise(
      'a heartbeat answers with credentials that changed, came and went, and with nothing when nothing did',
      async (house) => {
        const granted = new Map([
          ['database', 1],
          ['queue', 1],
        ])
        house.grants.set('orders', granted)
        const { instanceId: id } = await house.registry.register(
          registration('orders', 9),
          as('orders'),
        )
        const beat = (adopted?: Record<string, number>) =>
          house.registry.heartbeat('orders', id, {
            incarnation: 1,
            ...(adopted === undefined ? {} : { adopted }),
          }).changed.credentials
        assert.deepEqual(beat(), {})
        granted.set('database', 2)
        granted.set('mail', 1)
        granted.delete('queue')
        assert.deepEqual(beat(), { database: 2, mail: 1, queue: null })
        assert.deepEqual(beat({ database: 2, mail: 1 }), {})
      },
    )

    await promise(
      "an operator's registration has no lease, and an offline instance with one is forgotten after a day",
      async (house) => {
        const request = { name: 'orders', version: '1.0.0', port: 9 }
        const host = { ...request, address: '127.0.0.9' }
        const byHand = await house.registry.register(host, as(null))
        assert.equal(byHand.leaseTtlSeconds, null)
        const own = await house.registry.register(request, as('orders'))
        const stateOf = (id: string) => house.view.instance(id)?.state
        await until('both are offline', () => {
          house.clock.advance(1_000)
          return stateOf(own.instanceId) === 'offline' && stateOf(byHand.instanceId) === 'offline'
        })
        house.clock.advance(23 * 3_600_000)
        assert(house.view.instance(own.instanceId))
        await setLastSeen(database, '25 hours')
        await until('it is forgotten', () => {
          house.clock.advance(60_000)
          return house.view.instance(own.instanceId) === undefined
        })
        assert(house.view.instance(byHand.instanceId), 'nobody would register it again')
        await house.registry.deleteService('orders', false, as(null))
        assert.equal(house.view.instance(byHand.instanceId), undefined)
        assert.equal(discovered(house, 'orders').address, null)
        await house.registry.deleteService('orders', false, as(null))
        await refusedWith('service_not_found', () =>
          house.registry.deleteService('x', false, as(null)),
        )
      },
    )

    await promise(
      'an instance that only another process hears of is not forgotten, and those behind it are',
      async (house) => {
        const { registry, view, clock } = house
        // More than a page of rows; those that are not in maintenance are more than a round of the purge.
        const crowd = 1_050
        const first = await registry.register(registration('orders', 9), as('orders'))
        await until('it is offline', () => {
          clock.advance(1_000)
          return view.instance(first.instanceId)?.state === 'offline'
        })
        await database.pool.query(
          `insert into haus.instance (id, service, incarnation, version, address, port, scheme, state,
             weight, tags, metadata, leased, draining, maintenance, revision, modified_index,
             registered_at, state_changed_at, last_seen_at)
           select gen_random_uuid(), service, 1, version, '169.254.0.1', n, scheme, state, weight,
             tags, metadata, leased, draining, n > 105, 1, modified_index, registered_at,
             state_changed_at, last_seen_at
           from haus.instance, generate_series(1, $1::int) n`,
          [crowd],
        )
        await setLastSeen(database, '30 hours')
        await using again = await house.restart()
        assert.equal(again.view.counts.instances, crowd + 1)
        await database.pool.query(
          `update haus.instance set last_seen_at = now() - interval '23 hours' where port <= 30`,
        )
        again.clock.advance(59 * 60_000)
        assert.equal(again.view.counts.instances, crowd + 1)
        await until(
          'the silent ones are forgotten',
          () => {
            again.clock.advance(60_000)
            return again.view.counts.instances === crowd + 1 - 75
          },
          patientMs,
        )
        await setLastSeen(database, '24 hours')
        await until(
          'the others too, once nobody has heard of them',
          () => {
            again.clock.advance(60_000)
            return again.view.counts.instances === crowd - 105
          },
          patientMs,
        )
      },
    )

    await promise(
      'limits of the house refuse what is new, and not what is there',
      async (house) => {
        const { registry, view } = house
        const own = await registry.register(registration('orders', 9), as('orders'))
        const time = '2026-11-23T12:00:00.000Z'
        const record = view.service('orders')?.record
        const instance = view.instance(own.instanceId)
        assert(record && instance)
        let index = view.index
        const crowd = Array.from({ length: instancesPerServiceMax - 2 }, (_, place) =>
          instanceRegistered({
            ...instance,
            id: `f${place}`,
            address: '10.0.0.1',
            port: place + 1,
          }),
        )
        view.apply(crowd.map((event) => ({ ...event, index: ++index, time })))
        const together = await Promise.allSettled(
          [11, 12, 13].map((port) => registry.register(registration('orders', port), as('orders'))),
        )
        const stood = together.filter(({ status }) => status === 'fulfilled')
        assert.equal(stood.length, 1, 'what is under way counts')
        const error = await refusedWith('limit_reached', () =>
          registry.register(registration('orders', 10), as('orders')),
        )
        assert.match(error.message, /10000 instances/)
        assert.equal(
          (await registry.register(registration('orders', 9), as('orders'))).incarnation,
          2,
        )
        index = view.index
        const street = Array.from({ length: servicesMax - 2 }, (_, place) =>
          serviceChanged({ ...record, name: `s${place}` }),
        )
        view.apply(street.map((event) => ({ ...event, index: ++index, time })))
        const doors = await Promise.allSettled(
          ['a', 'b', 'c'].map((name) => registry.register(registration(name, 9), as(name))),
        )
        assert.equal(doors.filter(({ status }) => status === 'fulfilled').length, 1)
        const { message } = await refusedWith('limit_reached', () =>
          registry.register(registration('one-more', 9), as('one-more')),
        )
        assert.match(message, /DELETE \/api\/services\/\{name\}\?forget=true/)
        await registry.deleteService('s0', true, as(null))
        await registry.register(registration('one-more', 9), as('one-more'))
      },
    )

    await promise(
      'a house that is full of configurations names those of nobody, and takes another once one is forgotten',
      async ({ registry, view }) => {
        await registry.register(registration('orders', 9), as('orders'))
        await registry.putConfig('orders', { data: { a: 1 } }, as(null))
        let index = view.index
        const time = '2026-11-23T12:00:00.000Z'
        const misspelt = Array.from({ length: servicesMax - 1 }, (_, place) => ({
          ...configChanged(`order${place}`, { version: 1, data: {} }),
          index: ++index,
          time,
        }))
        view.apply(misspelt)
        const put = () => registry.putConfig('stock', { data: {} }, as(null))
        const { message } = await refusedWith('limit_reached', put)
        assert.match(message, /such as "order0", .*DELETE \/api\/services\/\{name\}\?forget=true/)
        assert.doesNotMatch(message, /"orders"/)
        await registry.putConfig('orders', { data: { a: 2 } }, as(null))
        await registry.deleteService('order0', true, as(null))
        assert.equal((await put()).version, 1)
      },
    )

    await promise(
      'a service that is forgotten takes its instances, aliases and configuration with it, and may come again',
      async (house) => {
        const { registry, view, clock } = house
        await using zimmer = await openZimmer()
        const request = registration('orders', zimmer.port)
        const first = await registry.register(request, as('orders'))
        await registry.register({ ...request, port: 9 }, as('orders'))
        await registry.register(registration('stock', 9), as('stock'))
        await registry.updateService('orders', { aliases: ['shop'], callers: [] }, as(null))
        await registry.putConfig('orders', { data: { a: 1 } }, as(null))
        await registry.putConfig('odrers', { data: { a: 1 } }, as(null))
        discovered(house, 'shop')
        await registry.deleteService('shop', true, as(null))
        await registry.deleteService('odrers', true, as(null))
        for (const name of ['shop', 'orders', 'odrers']) {
          await refusedWith('service_not_found', () => registry.deleteService(name, true, as(null)))
        }
        const counts = { services: 1, instances: 1 }
        assert.deepEqual([view.counts, view.configs, view.names()], [counts, 0, ['stock']])
        assert.throws(() => registry.discover({ service: 'orders' }), { code: 'service_not_found' })
        assert.throws(() => registry.heartbeat('orders', first.instanceId, { incarnation: 1 }), {
          code: 'service_not_found',
        })
        const gone = registry.traffic.update('orders', [first.instanceId])
        assert.deepEqual([gone.forgotten, gone.gone], [true, [first.instanceId]])
        const left = async (table: string) =>
          (await house.database.pool.query(`select * from haus.${table}`)).rows.length
        assert.deepEqual(
          await Promise.all(['service', 'instance', 'service_config'].map(left)),
          [1, 1, 0],
        )
        await registry.updateService('stock', { aliases: ['shop'] }, as(null))
        const again = await registry.register(request, as('orders'))
        assert.notEqual(again.instanceId, first.instanceId)
        assert.equal(registry.getService('orders', as(null)).callers, null, 'nothing of before')
        assert.equal(registry.getConfig('orders').version, 0)
        clock.advance(1_000)
        await using restarted = await house.restart()
        assert.deepEqual(restarted.view.names(), ['orders', 'stock'])
        assert.equal(restarted.view.canonicalService('shop'), 'stock')
      },
    )

    await promise(
      'whoever registers while its service is being forgotten stands in a service that is there',
      async ({ registry, view, database: { pool } }) => {
        for (let round = 0; round < 10; round++) {
          await registry.register(registration('orders', 9), as('orders'))
          const ports = [10, 11, 12]
          const outcomes = await Promise.allSettled([
            ...ports.map((port) => registry.register(registration('orders', port), as('orders'))),
            registry.deleteService('orders', true, as(null)),
            ...ports.map((port) => registry.register(registration('orders', port), as('orders'))),
          ])
          for (const outcome of outcomes) {
            if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'version_conflict')
          }
          const { rows } = await pool.query<{ service: string }>(
            'select service from haus.instance where service not in (select name from haus.service)',
          )
          assert.deepEqual(rows, [])
          const { rows: services } = await pool.query<{ name: string }>(
            'select name from haus.service',
          )
          assert.deepEqual(
            services.map(({ name }) => name),
            view.names(),
          )
        }
      },
    )

    await promise(
      'who was heard of is written in batches; after a restart nobody is purged within the hour, whatever the clock says',
      async (house) => {
        const { instanceId: id } = await house.registry.register(
          registration('orders', 9),
          as('orders'),
        )
        await until('it is offline', () => {
          house.clock.advance(1_000)
          return house.view.instance(id)?.state === 'offline'
        })
        const lastSeen = async () => {
          const row = await database.db
            .selectFrom('instance')
            .select('last_seen_at')
            .executeTakeFirst()
          return row?.last_seen_at.getTime()
        }
        const before = await lastSeen()
        house.registry.heartbeat('orders', id, { incarnation: 1 })
        assert.equal(await lastSeen(), before, 'not per heartbeat')
        house.clock.advance(10_000)
        await until('it is written', async () => (await lastSeen()) !== before)

        await setLastSeen(database, '30 hours')
        await using again = await house.restart()
        again.clock.advance(50 * 60_000)
        assert(again.view.instance(id))
        await until('it is forgotten', () => {
          again.clock.advance(60_000)
          return again.view.instance(id) === undefined
        })
        assert(again.clock.monotonicMs() >= 60 * 60_000)
      },
    )
  })
}

test(
  'who was heard of is written although somebody holds one of the rows, which follows later',
  needsDatabase('postgres'),
  async () => {
    await using database = await openTestDatabase<Tables>('postgres', { migrations })
    await using house = await openHouse(database)
    const [held, free] = await Promise.all(
      [9, 10].map((port) => house.registry.register(registration('orders', port), as('orders'))),
    )
    assert(held && free)
    await setLastSeen(database, '1 hour')
    const heardOf = async (): Promise<string[]> => {
      const { rows } = await database.pool.query<{ id: string }>(
        `select id from haus.instance where last_seen_at > now() - interval '1 minute'`,
      )
      return rows.map(({ id }) => id)
    }
    const holder = await database.pool.connect()
    try {
      await holder.query('begin')
      await holder.query('select from haus.instance where id = $1 for update', [held.instanceId])
      for (const { instanceId: id } of [held, free]) {
        house.registry.heartbeat('orders', id, { incarnation: 1 })
      }
      house.clock.advance(10_000)
      // It would never be written if it waited: the holder lets go only afterwards.
      await until('the free one is written', async () => (await heardOf()).length > 0)
      assert.deepEqual(await heardOf(), [free.instanceId])
    } finally {
      await holder.query('rollback')
      holder.release()
    }
    await until('so is the other, without another heartbeat', async () => {
      house.clock.advance(10_000)
      return (await heardOf()).length === 2
    })
  },
)

test(
  'two processes over one PostgreSQL: each sees what the other registered, and starts are counted once',
  needsDatabase('postgres'),
  async () => {
    await using database = await openTestDatabase<Tables>('postgres', { migrations })
    await using one = await openHouse(database)
    await using other = await openHouse(database)
    await using zimmer = await openZimmer()
    const request = registration('orders', zimmer.port)
    const first = await one.registry.register(request, as('orders'))
    await until('the other knows', () => other.view.instance(first.instanceId))
    assert.equal(discovered(other, 'orders').port, zimmer.port)
    assert.equal(
      other.registry.heartbeat('orders', first.instanceId, { incarnation: 1 }).changed
        .configVersion,
      null,
    )
    const starts = await Promise.all([
      one.registry.register(request, as('orders')),
      other.registry.register(request, as('orders')),
    ])
    assert.deepEqual(
      starts.map(({ incarnation }) => incarnation).toSorted((a, b) => a - b),
      [2, 3],
    )
    await until('both agree', () =>
      [one, other].every(({ view }) => view.instance(first.instanceId)?.incarnation === 3),
    )
    await other.registry.deregister('orders', first.instanceId, 3, as('orders'))
    await until('it is gone from both', () => one.view.counts.instances === 0)
  },
)
