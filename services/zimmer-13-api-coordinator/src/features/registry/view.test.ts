import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { migrations } from '../../migrations/index.ts'
import { systemClock } from '../../platform/clock/clock.ts'
import { createLedger, GuardLost, write, type Entry } from '../../platform/ledger/index.ts'
import type { Log } from '../../platform/log/log.ts'
import {
  databaseKinds,
  needsDatabase,
  openTestDatabase,
  silentLog,
  type TestDatabase,
} from '../../testing/databases.ts'
import { createTestView } from '../../testing/registry-view.ts'
import type { Tables } from '../tables.ts'
import {
  configChanged,
  instanceChanged,
  instanceDeregistered,
  instanceKey,
  instanceRegistered,
  serviceChanged,
  serviceForgotten,
  type InstanceRecord,
  type ServiceRecord,
} from './records.ts'
import {
  forgetService,
  joinInstance,
  updateService,
  putConfig,
  putInstance,
  putService,
  removeInstance,
  updateInstance,
} from './store.ts'
import type { RegistryView } from './view.ts'

const log = silentLog as Log
const names = ['orders', 'stock', 'billing']
const aliasNames = ['alpha', 'beta', 'orders']

type Action =
  | {
      readonly do: 'register'
      readonly service: string
      readonly port: number
      readonly deps: string[]
    }
  | {
      readonly do: 'change'
      readonly service: string
      readonly port: number
      readonly weight: number
    }
  | { readonly do: 'remove'; readonly service: string; readonly port: number }
  | { readonly do: 'alias'; readonly service: string; readonly aliases: string[] }
  | { readonly do: 'config'; readonly service: string; readonly value: number }
  | { readonly do: 'forget'; readonly service: string }

const anyService = fc.constantFrom(...names)
const anyPort = fc.integer({ min: 1, max: 4 })
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('register' as const),
      service: anyService,
      port: anyPort,
      deps: fc.subarray([...names, 'alpha']),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('change' as const),
      service: anyService,
      port: anyPort,
      weight: fc.integer({ min: 0, max: 9 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('remove' as const),
      service: anyService,
      port: anyPort,
    }),
  },
  fc.record({
    do: fc.constant('alias' as const),
    service: anyService,
    aliases: fc.subarray(aliasNames),
  }),
  fc.record({ do: fc.constant('config' as const), service: anyService, value: fc.integer() }),
  fc.record({ do: fc.constant('forget' as const), service: anyService }),
)

/** What a reader of a page of code expects of the registry: two maps and a counter per service. */
interface Model {
  readonly services: Map<string, { aliases: string[]; dependencies: string[]; index: number }>
  readonly instances: Map<string, { incarnation: number; weight: number }>
  readonly configs: Map<string, number>
}

function openLedger(database: TestDatabase<Tables>, view: RegistryView) {
  return createLedger<Tables>({
    database,
    clock: systemClock,
    log,
    projections: [view],
    writeTimeoutMs: 30_000,
  })
}

let ids = 0
const nextId = (): string => `01933b6e-7c00-7000-8000-${String(++ids).padStart(12, '0')}`

function instanceAt(view: RegistryView, act: { service: string; port: number }): InstanceRecord {
  const before = view.instanceAt(act.service, '10.0.0.1', act.port)
  return {
    id: before?.id ?? nextId(),
    service: act.service,
    incarnation: (before?.incarnation ?? 0) + 1,
    revision: (before?.revision ?? 0) + 1,
    version: '1.0.0',
    address: '10.0.0.1',
    port: act.port,
    scheme: 'http',
    healthEndpoint: before ? '/up' : null,
    state: 'pending',
    reason: null,
    weight: 100,
    zone: null,
    tags: ['a', 'ü"\\'],
    metadata: { text: 'line\nbreak' },
    leased: true,
    draining: false,
    maintenance: false,
    registeredAt: '2026-11-23T12:00:00.000Z',
    stateChangedAt: '2026-11-23T12:00:00.000Z',
  }
}

/** The entry for an action, made from what the view says; null: there is nothing to do. */
function entryFor(view: RegistryView, act: Action): Entry | null {
  const found = view.service(act.service)?.record
  const known = found?.name === act.service ? found : undefined
  switch (act.do) {
    case 'register': {
      const instance = instanceAt(view, act)
      const key = instanceKey(act.service, instance.address, act.port)
      const next: ServiceRecord = {
        name: act.service,
        aliases: known?.aliases ?? [],
        aliasesMac: known?.aliasesMac ?? null,
        callers: known?.callers ?? null,
        dependencies: act.deps,
        endpoints: [{ path: '/x', methods: ['GET'] }],
        // Differs from the default, so that a row that loses it is noticed.
        healthIntervalSeconds: 10 + (act.port % 50),
        revision: (known?.revision ?? 0) + 1,
        createdAt: known?.createdAt ?? '2026-11-23T12:00:00.000Z',
      }
      if (known && String(act.deps) === String(known.dependencies)) {
        return {
          keys: [key],
          writes: [write(joinInstance, instance)],
          events: [instanceRegistered(instance)],
          audit: null,
        }
      }
      return {
        keys: [key, `service:${act.service}`],
        writes: [write(putService, next), write(putInstance, instance)],
        events: [serviceChanged(next), instanceRegistered(instance)],
        audit: null,
      }
    }
    case 'change': {
      const before = view.instanceAt(act.service, '10.0.0.1', act.port)
      if (!before) return null
      const next = { ...before, revision: before.revision + 1, weight: act.weight }
      return {
        keys: [instanceKey(act.service, before.address, act.port)],
        writes: [write(updateInstance, next)],
        events: [instanceChanged(next)],
        audit: null,
      }
    }
    case 'remove': {
      const before = view.instanceAt(act.service, '10.0.0.1', act.port)
      if (!before) return null
      const row = {
        id: before.id,
        service: act.service,
        revision: null,
        incarnation: null,
        silentSeconds: null,
      }
      return {
        keys: [instanceKey(act.service, before.address, act.port)],
        writes: [write(removeInstance, row)],
        events: [instanceDeregistered(before)],
        audit: null,
      }
    }
    case 'alias': {
      if (!known) return null
      const aliasesMac = view.sealAliases(known.name, act.aliases)
      const next = { ...known, aliases: act.aliases, aliasesMac, revision: known.revision + 1 }
      return {
        keys: [known.name, ...act.aliases].map((name) => `service:${name}`),
        writes: [write(updateService, next)],
        events: [serviceChanged(next)],
        audit: null,
      }
    }
    case 'forget': {
      const there = known ? (view.service(act.service)?.instances ?? []) : []
      const { service } = act
      const guard = { service, revision: null, incarnation: null, silentSeconds: null }
      return {
        keys: [
          `service:${service}`,
          `config:${service}`,
          ...there.map(({ address, port }) => instanceKey(service, address, port)),
        ],
        writes: [
          ...there.map(({ id }) => write(removeInstance, { id, ...guard })),
          write(forgetService, { name: service }),
        ],
        events: [...there.map(instanceDeregistered), serviceForgotten(service)],
        audit: null,
      }
    }
    case 'config': {
      const config = { version: view.config(act.service).version + 1, data: { value: act.value } }
      const updatedAt = '2026-11-23T12:00:00.000Z'
      return {
        keys: [`config:${act.service}`],
        writes: [write(putConfig, { ...config, service: act.service, updatedAt })],
        events: [configChanged(act.service, config)],
        audit: null,
      }
    }
  }
}

function applyToModel(model: Model, act: Action, entry: Entry, index: number): void {
  const key = 'port' in act ? `${act.service}:${act.port}` : ''
  const touched = model.services.get(act.service)
  switch (act.do) {
    case 'register': {
      // Who joins says nothing new of the service, whatever another one changed at the same time.
      const joins = touched && entry.events.length === 1
      model.services.set(act.service, {
        aliases: touched?.aliases ?? [],
        dependencies: joins ? touched.dependencies : act.deps,
        index,
      })
      const { incarnation } = incarnationOf(entry)
      // A start that was removed may leave a gap, and is never repeated.
      assert(incarnation > (model.instances.get(key)?.incarnation ?? 0))
      model.instances.set(key, { incarnation, weight: 100 })
      return
    }
    case 'change': {
      const instance = model.instances.get(key)
      if (instance) instance.weight = act.weight
      if (touched) touched.index = index
      return
    }
    case 'remove':
      model.instances.delete(key)
      if (touched) touched.index = index
      return
    case 'alias':
      if (touched) Object.assign(touched, { aliases: act.aliases, index })
      return
    case 'forget':
      model.services.delete(act.service)
      model.configs.delete(act.service)
      for (const place of model.instances.keys()) {
        if (place.startsWith(`${act.service}:`)) model.instances.delete(place)
      }
      return
    case 'config':
      model.configs.set(act.service, (model.configs.get(act.service) ?? 0) + 1)
      return
  }
}

function incarnationOf(entry: Entry): { incarnation: number } {
  const instance = entry.events.at(-1)?.data['instance']
  return instance as InstanceRecord
}

function aliasIsFree(model: Model, act: Action): boolean {
  if (act.do === 'register') {
    return ![...model.services.values()].some(({ aliases }) => aliases.includes(act.service))
  }
  if (act.do !== 'alias') return true
  return act.aliases.every(
    (alias) =>
      !model.services.has(alias) &&
      [...model.services].every(
        ([name, other]) => name === act.service || !other.aliases.includes(alias),
      ),
  )
}

/** Everything a reader can learn from a view, in a form that compares. */
function pictureOf(view: RegistryView) {
  const all = view.names().map((name) => view.service(name))
  return {
    names: view.names(),
    services: all,
    counts: view.counts,
    index: view.index,
    configs: names.map((name) => view.config(name)),
    aliases: aliasNames.map((alias) => view.canonicalService(alias)),
    dependents: names.map((name) => view.dependents(name)),
    seen: names.map((name) => [...view.seenBy(name)].toSorted()),
    cycles: names.map((name) => view.cycles(name)),
    places: all.flatMap((known) =>
      (known?.instances ?? []).map(
        ({ service, address, port }) => view.instanceAt(service, address, port)?.id,
      ),
    ),
  }
}

for (const kind of databaseKinds) {
  test(
    `${kind}: after any history the view folded from events is the view loaded from the tables, and the model`,
    needsDatabase(kind),
    async () => {
      await using database = await openTestDatabase<Tables>(kind, { migrations })
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.array(action, { maxLength: 4 }), { maxLength: 12 }),
          async (batches) => {
            await database.pool.query(
              'truncate haus.service, haus.instance, haus.service_config, haus.ledger_event',
            )
            const view = createTestView()
            const ledger = openLedger(database, view)
            await ledger.start()
            const model: Model = { services: new Map(), instances: new Map(), configs: new Map() }
            for (const batch of batches) {
              // The actions of a batch are appended at once: those that do not touch the same
              // thing share a group, and one that was made from an old view loses its guard.
              const outcomes = await Promise.all(
                batch.map(async (act) => {
                  const entry = entryFor(view, act)
                  if (!entry) return null
                  try {
                    const { index } = await ledger.append(entry)
                    return { act, entry, index }
                  } catch (error) {
                    assert(error instanceof GuardLost)
                    return null
                  }
                }),
              )
              const written = outcomes.filter((outcome) => outcome !== null)
              for (const { act, entry, index } of written.toSorted((a, b) => a.index - b.index)) {
                assert(aliasIsFree(model, act), `a name was taken twice: ${JSON.stringify(act)}`)
                applyToModel(model, act, entry, index)
              }
            }
            const loaded = createTestView()
            await database.db.transaction().execute((snapshot) => loaded.load(snapshot))
            await ledger.stop(1_000)
            assert.deepEqual(pictureOf(view), pictureOf(loaded))
            assert.deepEqual(
              view.names().map((name) => {
                const known = view.service(name)
                return [
                  name,
                  {
                    aliases: known?.record.aliases,
                    dependencies: known?.record.dependencies,
                    index: known?.index,
                  },
                ]
              }),
              [...model.services].toSorted(([a], [b]) => (a < b ? -1 : 1)),
            )
            const instances = view
              .names()
              .flatMap((name) => view.service(name)?.instances ?? [])
              .map(({ service, port, incarnation, weight }) => [
                `${service}:${port}`,
                { incarnation, weight },
              ])
            assert.deepEqual(new Map(instances as never), model.instances)
            for (const name of names) {
              assert.equal(view.config(name).version, model.configs.get(name) ?? 0)
            }
            assert.equal(view.configs, model.configs.size)
          },
        ),
        { numRuns: 25, endOnFailure: true },
      )
    },
  )
}

for (const kind of databaseKinds) {
  test(
    `${kind}: what was meant for a service that is forgotten meanwhile does not bring half of it back`,
    needsDatabase(kind),
    async () => {
      await using database = await openTestDatabase<Tables>(kind, { migrations })
      const view = createTestView()
      const ledger = openLedger(database, view)
      await ledger.start()
      const service = 'orders'
      const entry = (act: Action): Entry => entryFor(view, act) ?? assert.fail('nothing to do')
      const register = (port: number, deps: string[]) =>
        entry({ do: 'register', service, port, deps })
      await ledger.append(register(1, []))
      await ledger.append(entry({ do: 'config', service, value: 1 }))
      // All are made from the view as it is before the first of them is written.
      const outcomes = await Promise.allSettled(
        [
          entry({ do: 'forget', service }),
          register(2, []),
          register(3, ['stock']),
          entry({ do: 'config', service, value: 2 }),
          entry({ do: 'alias', service, aliases: ['alpha'] }),
          entry({ do: 'remove', service, port: 1 }),
        ].map((each) => ledger.append(each)),
      )
      assert.deepEqual(
        outcomes.map((outcome) =>
          outcome.status === 'rejected' ? outcome.reason.name : outcome.status,
        ),
        ['fulfilled', 'GuardLost', 'GuardLost', 'GuardLost', 'GuardLost', 'fulfilled'],
      )
      const loaded = createTestView()
      await database.db.transaction().execute((snapshot) => loaded.load(snapshot))
      await ledger.stop(1_000)
      for (const each of [view, loaded]) {
        assert.deepEqual([each.names(), each.configs, each.counts.instances], [[], 0, 0])
      }
    },
  )
}

test('512 registrations of one service are one new snapshot, and the one before stays as it was', () => {
  const view = createTestView()
  const events = Array.from({ length: 512 }, (_, place) => ({
    ...instanceRegistered(instanceAt(view, { service: 'orders', port: place + 1 })),
    index: place + 1,
    time: '2026-11-23T12:00:00.000Z',
  }))
  let changes = 0
  view.onChange(() => changes++)
  view.apply(events.slice(0, 1))
  const before = view.service('orders')
  view.apply(events.slice(1))
  assert.equal(changes, 2)
  assert.equal(before?.instances.length, 1)
  assert.equal(view.service('orders')?.instances.length, 512)
  assert.equal(view.service('orders')?.index, 512)
})

test('a dependency cycle is found through each of its members, and through nobody else', () => {
  const view = createTestView()
  const dependencies: Record<string, string[]> = {
    a: ['b', 'd'],
    b: ['c'],
    c: ['a'],
    d: ['d', 'missing'],
  }
  view.apply(
    Object.entries(dependencies).map(([name, of], place) => ({
      ...serviceChanged({
        name,
        aliases: [],
        aliasesMac: null,
        callers: null,
        dependencies: of,
        endpoints: [],
        healthIntervalSeconds: 30,
        revision: 1,
        createdAt: '2026-11-23T12:00:00.000Z',
      }),
      index: place + 1,
      time: '2026-11-23T12:00:00.000Z',
    })),
  )
  assert.deepEqual(view.cycles('a'), [['a', 'b', 'c']])
  assert.deepEqual(view.cycles('c'), [['c', 'a', 'b']])
  assert.deepEqual(view.cycles('d'), [['d']])
  assert.deepEqual(view.cycles('missing'), [])
  assert.deepEqual(view.dependents('d'), ['a', 'd'])
  assert.deepEqual([...view.seenBy('d')].toSorted(), ['d', 'missing'])
})
