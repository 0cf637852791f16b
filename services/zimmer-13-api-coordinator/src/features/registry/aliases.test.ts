/** Whom an alias leads to, when the rows and events are not what Haus wrote. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Secret } from '../../platform/crypto/index.ts'
import { recordLog } from '../../testing/identity.ts'
import { createTestView } from '../../testing/registry-view.ts'
import type { Holdings } from './aliases.ts'
import { serviceChanged, type ServiceRecord } from './records.ts'
import type { RegistryView } from './view.ts'

const time = '2026-11-23T12:00:00.000Z'

function openView() {
  const { log, records } = recordLog()
  const holdings = new Map<string, Holdings>()
  const holdingsOf = (name: string): Holdings => holdings.get(name) ?? { liveKeys: 0, grants: 0 }
  const view = createTestView({ log, holdingsOf })
  const reported = (): string[] =>
    records
      .filter(({ level, table }) => level === 'error' && table === 'haus.service')
      .map(({ id, alias, reason }) => `${String(id)} ${String(alias)} ${String(reason)}`)
  return { view, holdings, reported }
}

let index = 0

function put(view: RegistryView, name: string, change: Partial<ServiceRecord> = {}): void {
  const record: ServiceRecord = {
    name,
    aliases: [],
    aliasesMac: 'aliasesMac' in change ? null : view.sealAliases(name, change.aliases ?? []),
    callers: null,
    dependencies: [],
    endpoints: [],
    healthIntervalSeconds: 30,
    revision: 1,
    createdAt: time,
    ...change,
  }
  view.apply([{ ...serviceChanged(record), index: ++index, time }])
}

test('an alias that an operator set leads to its service, and nothing is reported', () => {
  const { view, reported } = openView()
  put(view, 'orders', { aliases: ['zimmer-21', 'zimmer-22'] })
  assert.equal(view.canonicalService('zimmer-21'), 'orders')
  assert.equal(view.service('zimmer-22')?.record.name, 'orders')
  assert.deepEqual(view.aliasesOf('orders'), ['zimmer-21', 'zimmer-22'])
  assert.deepEqual([reported(), view.integrityFailures], [[], 0])
})

const forgeries: Record<string, (view: RegistryView) => Partial<ServiceRecord>> = {
  'without a MAC': () => ({ aliases: ['shop'], aliasesMac: null }),
  'with the MAC of fewer aliases': (view) => ({
    aliases: ['mine', 'shop'],
    aliasesMac: view.sealAliases('evil', ['mine']),
  }),
  'with the MAC of another service': (view) => ({
    aliases: ['shop'],
    aliasesMac: view.sealAliases('orders', ['shop']),
  }),
  'with a MAC under another key': () => ({
    aliases: ['shop'],
    aliasesMac: createTestView({ rootKey: new Secret(Buffer.alloc(32, 0x41)) }).sealAliases(
      'evil',
      ['shop'],
    ),
  }),
  'with text that no MAC takes': () => ({ aliases: ['shop', '\ud800'], aliasesMac: '!' }),
}

for (const [how, forge] of Object.entries(forgeries)) {
  test(`an alias ${how} is not followed, and is reported once`, () => {
    const { view, reported } = openView()
    const forged = forge(view)
    put(view, 'evil', forged)
    put(view, 'evil', { ...forged, revision: 2 })
    assert.equal(view.canonicalService('shop'), 'shop')
    assert.equal(view.service('shop'), undefined)
    assert.deepEqual(view.aliasesOf('evil'), [])
    assert.equal(reported().filter((line) => line === 'evil shop was not set by Haus').length, 1)
    assert.equal(view.integrityFailures, forged.aliases?.length)
    put(view, 'evil', { aliases: ['shop'], revision: 3 })
    assert.equal(view.canonicalService('shop'), 'evil', 'an operator sets it: now it holds')
  })
}

test('the name of a service goes before every alias, in whatever order they come', () => {
  for (const first of ['orders', 'evil']) {
    const { view, reported } = openView()
    if (first === 'orders') put(view, 'orders')
    put(view, 'evil', { aliases: ['orders', 'other'] })
    if (first === 'evil') put(view, 'orders')
    assert.equal(view.canonicalService('orders'), 'orders')
    assert.equal(view.service('orders')?.record.name, 'orders')
    assert.deepEqual(view.aliasesOf('evil'), ['other'], 'the gateway is not told of it either')
    assert.deepEqual(reported(), ['evil orders is the name of another service'])
    put(view, 'stock', { dependencies: ['orders'] })
    assert.deepEqual(view.dependencies('stock'), ['orders'])
  }
})

test('an alias that two services claim leads to neither, and does again once one lets it go', () => {
  const { view, reported } = openView()
  put(view, 'orders', { aliases: ['shop'] })
  put(view, 'evil', { aliases: ['shop'] })
  assert.equal(view.canonicalService('shop'), 'shop')
  assert.deepEqual([view.aliasesOf('orders'), view.aliasesOf('evil')], [[], []])
  assert.deepEqual(reported().toSorted(), [
    'evil shop is claimed by two services',
    'orders shop is claimed by two services',
  ])
  put(view, 'evil', { revision: 2 })
  assert.equal(view.canonicalService('shop'), 'orders')
})

test('an alias with live keys or grants of its own is a name of its own', () => {
  for (const held of [
    { liveKeys: 1, grants: 0 },
    { liveKeys: 0, grants: 1 },
  ]) {
    const { view, holdings, reported } = openView()
    put(view, 'evil', { aliases: ['shop'] })
    holdings.set('shop', held)
    assert.equal(view.canonicalService('shop'), 'shop')
    assert.deepEqual(view.aliasesOf('evil'), [])
    assert.deepEqual(reported(), ['evil shop has keys or grants of its own'])
    assert.equal(view.integrityFailures, 1)
  }
})
