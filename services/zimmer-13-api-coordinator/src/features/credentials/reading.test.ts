import assert from 'node:assert/strict'
import { test } from 'node:test'
import { databaseKinds, needsDatabase } from '../../testing/databases.ts'
import { until } from '../../testing/until.ts'
import type { Entry } from '../../platform/ledger/index.ts'
import {
  auditOfHouse,
  openTestHouse,
  operatorDoes,
  readValues,
  serviceDoes,
  type TestHouse,
} from '../../testing/credentials-house.ts'

const creating = operatorDoes('createCredential')
const changing = operatorDoes('updateCredential')
const revealing = operatorDoes('revealCredential')
const reading = serviceDoes('orders', 'getServiceCredentials')
const registering = serviceDoes('orders', 'registerInstance')

const make = (house: Pick<TestHouse, 'credentials'>, name: string, more: object = {}) =>
  house.credentials.create(
    { name, data: { value: `value of ${name}` }, services: ['orders'], ...more },
    creating,
  )

const read = ({ credentials }: Pick<TestHouse, 'credentials'>, ifNoneMatch?: string) =>
  credentials.readFor('orders', ifNoneMatch, reading)

/** From now on the stored values do not open: whoever still gets them had them in memory. */
async function spoilStoredValues({ database }: TestHouse): Promise<void> {
  await database.pool.query(`update haus.credential_version set blob = '\\x00'`)
}

for (const kind of databaseKinds) {
  const matrix = needsDatabase(kind)

  test(
    `${kind}: an answer has the shape of the contract, and each read is one audit record`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const b = await make(house, 'b', { cacheTtlSeconds: 60, expiresAt: '2999-01-01T00:00:00Z' })
      const a = await make(house, 'a', { cacheTtlSeconds: 7 })
      for (let n = 0; n < 3; n++) {
        const { body } = await read(house)
        assert.deepEqual(JSON.parse(String(body)), {
          service: 'orders',
          credentials: {
            a: { id: a.id, version: 1, data: { value: 'value of a' }, expiresAt: null },
            b: {
              id: b.id,
              version: 1,
              data: { value: 'value of b' },
              expiresAt: '2999-01-01T00:00:00.000Z',
            },
          },
          cacheTtlSeconds: 7,
        })
      }
      const reads = (await auditOfHouse(house.database)).filter(
        ({ action }) => action === 'getServiceCredentials',
      )
      assert.equal(reads.length, 3)
      assert.deepEqual(reads[0], {
        actor: 'service:orders',
        action: 'getServiceCredentials',
        target: 'credentials/service/orders',
        outcome: 'allowed',
        code: null,
        detail: { credentials: { a: 1, b: 1 } },
      })
      const { body } = await house.credentials.readFor(
        'nobody',
        undefined,
        operatorDoes('getServiceCredentials'),
      )
      assert.deepEqual(JSON.parse(String(body)), {
        service: 'nobody',
        credentials: {},
        cacheTtlSeconds: 30,
      })
    },
  )

  test(
    `${kind}: values leave memory only after their record: without a ledger nothing is answered`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind, { ownDatabase: true })
      const { id } = await make(house, 'a')
      await read(house)
      assert.ok(house.credentials.status().cachedBytes > 0)
      const refused = async (): Promise<void> => {
        for (const attempt of [
          () => read(house),
          () => house.credentials.reveal(id, undefined, revealing),
        ]) {
          await assert.rejects(attempt(), (error: { status: number }) => error.status === 503)
        }
      }
      await house.database.pool.query('alter table haus.audit rename to audit_away')
      await refused()
      await house.database.pool.query('alter table haus.audit_away rename to audit')
      await until('the ledger is back', () => house.ledger.status().available)
      await read(house)
      await house.database.close()
      await refused()
      house.clock.advance(60_000)
      await refused()
    },
  )

  test(
    `${kind}: the ETag answers 304 until something changes, and a 304 is not recorded`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const { id } = await make(house, 'a')
      const { etag } = await read(house)
      assert.match(etag, /^"[\w-]{22}"$/)
      const recorded = (await auditOfHouse(house.database)).length
      for (const header of [etag, `W/${etag}`, `"other", ${etag}`]) {
        assert.deepEqual(await read(house, header), { etag, body: null })
      }
      assert.equal((await auditOfHouse(house.database)).length, recorded)
      assert.notEqual((await read(house, '"other"')).body, null)
      const seen = new Set([etag])
      const changes = [
        () =>
          house.credentials.addVersion(
            id,
            { data: { value: 'value of a' } },
            operatorDoes('addCredentialVersion'),
          ),
        () => house.credentials.update(id, { cacheTtlSeconds: 1 }, changing),
        () => house.credentials.update(id, { expiresAt: '2999-01-01T00:00:00Z' }, changing),
        () => make(house, 'b'),
        () => house.credentials.update(id, { services: [] }, changing),
      ]
      for (const change of changes) {
        await change()
        const next = await read(house, etag)
        assert.notEqual(next.body, null)
        assert.ok(!seen.has(next.etag))
        seen.add(next.etag)
      }
      const later = await house.another()
      assert.equal((await read(later)).etag, (await read(house)).etag)
    },
  )

  test(
    `${kind}: without the ETag of a read there is no 304: what "*" gets is a read, and recorded`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      await make(house, 'a')
      assert.notEqual((await read(house, '*')).body, null)
      const recorded = (await auditOfHouse(house.database)).at(-1)
      assert.equal(recorded?.action, reading.operation)
      assert.deepEqual(recorded?.detail, { credentials: { a: 1 } })
    },
  )

  test(
    `${kind}: values stay in memory for cacheTtlSeconds, and not a moment longer`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      await make(house, 'a', { cacheTtlSeconds: 20 })
      await make(house, 'b', { cacheTtlSeconds: 3000 })
      await read(house)
      await spoilStoredValues(house)
      house.clock.advance(15_000)
      assert.equal(
        (await readValues(house.credentials, 'orders'))['a']?.data['value'],
        'value of a',
      )
      house.clock.advance(5_001)
      assert.equal(house.credentials.status().cachedBytes, 0)
      await assert.rejects(read(house), { code: 'integrity_failed' })
    },
  )

  test(
    `${kind}: one credential with cacheTtlSeconds 0 keeps the whole answer out of memory`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      await make(house, 'a', { cacheTtlSeconds: 0 })
      await make(house, 'b')
      await read(house)
      assert.equal(house.credentials.status().cachedBytes, 0)
      assert.deepEqual(
        Object.keys(
          (await house.credentials.grantedTo('orders', undefined, registering)).credentials,
        ),
        ['a', 'b'],
      )
      await spoilStoredValues(house)
      await assert.rejects(read(house), { code: 'integrity_failed' })
    },
  )

  test(
    `${kind}: an expired credential is not handed out, and the record names it`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const endsAt = new Date(house.clock.now().getTime() + 60_000).toISOString()
      await make(house, 'a', { expiresAt: endsAt, cacheTtlSeconds: 3600 })
      await make(house, 'b', { cacheTtlSeconds: 3600 })
      const before = await read(house)
      assert.deepEqual(house.credentials.versionsOf('orders'), { a: 1, b: 1 })
      house.clock.advance(60_001)
      assert.equal(house.credentials.status().cachedBytes, 0)
      const after = await read(house, before.etag)
      assert.deepEqual(Object.keys(JSON.parse(String(after.body)).credentials), ['b'])
      assert.deepEqual(house.credentials.versionsOf('orders'), { b: 1 })
      const audit = await auditOfHouse(house.database)
      assert.deepEqual(audit.at(-1)?.detail, { credentials: { b: 1 }, expired: ['a'] })
      await assert.rejects(
        house.credentials.grantedTo('orders', ['b', 'a'], registering),
        (error: { code: string; message: string; fields: { field: string }[] }) =>
          error.code === 'credential_not_granted' &&
          error.message.includes(`"a" expired at ${endsAt}`) &&
          error.fields[0]?.field === '/credentialsNeeded/1',
      )
    },
  )

  test(
    `${kind}: a registration gets what it needs, or hears which one is missing`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const a = await make(house, 'a')
      await make(house, 'b')
      await make(house, 'foreign', { services: ['billing'] })
      const granted = await house.credentials.grantedTo('orders', ['a', 'a'], registering)
      assert.deepEqual(granted.credentials, {
        a: { id: a.id, version: 1, data: { value: 'value of a' }, expiresAt: null },
      })
      assert.deepEqual(granted.auditDetail, { credentials: { a: 1 } })
      const all = await house.credentials.grantedTo('orders', undefined, registering)
      assert.deepEqual(Object.keys(all.credentials), ['a', 'b'])
      assert.deepEqual(
        (await house.credentials.grantedTo('orders', [], registering)).credentials,
        {},
      )
      assert.ok(all.isCurrent())
      await house.credentials.update(a.id, { services: [] }, changing)
      assert.ok(!all.isCurrent())
      for (const name of ['a', 'foreign', 'absent', 'constructor']) {
        await assert.rejects(house.credentials.grantedTo('orders', ['b', name], registering), {
          code: 'credential_not_granted',
          message: `credentialsNeeded: credential "${name}" does not exist or is not granted to service "orders"; grant it first.`,
        })
      }
      const denied = (await auditOfHouse(house.database)).filter(
        ({ outcome }) => outcome === 'denied',
      )
      assert.deepEqual(
        denied.map(({ action, code }) => [action, code]),
        Array.from({ length: 4 }, () => ['registerInstance', 'credential_not_granted']),
      )
    },
  )

  test(
    `${kind}: a service cannot read another's, and the attempt is on record`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      await make(house, 'a')
      const intruding = serviceDoes('billing', 'getServiceCredentials')
      await assert.rejects(house.credentials.readFor('orders', undefined, intruding), {
        code: 'forbidden',
      })
      const audit = await auditOfHouse(house.database)
      assert.deepEqual(audit.at(-1), {
        actor: 'service:billing',
        action: 'getServiceCredentials',
        target: 'credentials/service/orders',
        outcome: 'denied',
        code: 'forbidden',
        detail: {},
      })
    },
  )

  test(
    `${kind}: reveal shows any kept version to an operator, and records which`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const { id } = await make(house, 'a')
      await house.credentials.addVersion(
        id,
        { data: { value: 'second' } },
        operatorDoes('addCredentialVersion'),
      )
      assert.deepEqual(await house.credentials.reveal(id, undefined, revealing), {
        id,
        name: 'a',
        version: 2,
        data: { value: 'second' },
      })
      assert.equal((await house.credentials.reveal(id, 1, revealing)).data['value'], 'value of a')
      await assert.rejects(house.credentials.reveal(id, 3, revealing), {
        code: 'credential_not_found',
      })
      const reveals = (await auditOfHouse(house.database)).filter(
        ({ action }) => action === 'revealCredential',
      )
      assert.deepEqual(
        reveals.map(({ outcome, detail }) => [outcome, detail]),
        [
          ['allowed', { id, version: 2 }],
          ['allowed', { id, version: 1 }],
          ['failed', {}],
        ],
      )
    },
  )

  test(
    `${kind}: what is revoked while the read is being recorded does not leave`,
    matrix,
    async () => {
      const meanwhile: { run: (() => Promise<unknown>) | null } = { run: null }
      const beforeAppend = async ({ audit }: Entry): Promise<void> => {
        const { run } = meanwhile
        if (!run || (audit?.action !== reading.operation && audit?.action !== revealing.operation))
          return
        meanwhile.run = null
        await run()
      }
      await using house = await openTestHouse(kind, { beforeAppend })
      const { credentials } = house
      const { id } = await make(house, 'a')
      meanwhile.run = () =>
        credentials.addVersion(id, { data: { value: 'new' } }, operatorDoes('addCredentialVersion'))
      assert.equal((await readValues(credentials, 'orders'))['a']?.data['value'], 'new')
      meanwhile.run = () =>
        credentials.addVersion(
          id,
          { data: { value: 'newer' } },
          operatorDoes('addCredentialVersion'),
        )
      assert.equal((await credentials.reveal(id, undefined, revealing)).data['value'], 'newer')
      meanwhile.run = () => credentials.update(id, { services: [] }, changing)
      assert.deepEqual(await readValues(credentials, 'orders'), {})
      meanwhile.run = () => credentials.remove(id, operatorDoes('deleteCredential'))
      await assert.rejects(credentials.reveal(id, undefined, revealing), {
        code: 'credential_not_found',
      })
    },
  )

  test(
    `${kind}: readers that come at once share one decryption, and each gets a whole answer`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind, { cacheMaxBytes: 300 })
      await make(house, 'a')
      await make(house, 'b', { services: ['billing'], data: { value: 'x'.repeat(100) } })
      await make(house, 'large', { services: ['reports'], data: { value: 'y'.repeat(1000) } })
      const answers = await Promise.all(
        Array.from({ length: 30 }, async (_, n) => {
          const service = ['orders', 'billing', 'reports'][n % 3]!
          const values = await readValues(house.credentials, service)
          return Object.values(values)[0]?.data['value']
        }),
      )
      assert.deepEqual(
        answers,
        Array.from(
          { length: 30 },
          (_, n) => ['value of a', 'x'.repeat(100), 'y'.repeat(1000)][n % 3],
        ),
      )
      assert.ok(house.credentials.status().cachedBytes <= 300)
    },
  )

  test(
    `${kind}: a change drops what is held in the clear at once, before anybody asks again`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const other = await house.another()
      const { id } = await make(house, 'a', { cacheTtlSeconds: 3600 })
      await until('the other process knows it', () => other.view.get(id))
      const held = () => [house, other].map((each) => each.credentials.status().cachedBytes > 0)
      for (const change of [
        () => house.credentials.addVersion(id, { data: { value: 'b' } }, revealing),
        () => house.credentials.update(id, { description: 'c' }, changing),
        () => house.credentials.remove(id, operatorDoes('deleteCredential')),
      ]) {
        await read(house)
        await read(other)
        assert.deepEqual(held(), [true, true])
        await change()
        assert.equal(held()[0], false)
        await until('the other process has dropped it', () => !held()[1])
      }
    },
  )

  test(`${kind}: closing wipes what is held in the clear`, matrix, async () => {
    await using house = await openTestHouse(kind)
    await make(house, 'a')
    await read(house)
    house.credentials.close()
    assert.equal(house.credentials.status().cachedBytes, 0)
  })
}
