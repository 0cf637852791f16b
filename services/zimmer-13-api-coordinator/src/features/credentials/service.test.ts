import assert from 'node:assert/strict'
import { test } from 'node:test'
import { databaseKinds, needsDatabase } from '../../testing/databases.ts'
import { until } from '../../testing/until.ts'
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
const adding = operatorDoes('addCredentialVersion')
const deleting = operatorDoes('deleteCredential')
const revealing = operatorDoes('revealCredential')
const getting = operatorDoes('getCredential')

const input = { name: 'orders-database', data: { username: 'orders', password: 'p1' } }

async function storedVersions({ database }: TestHouse, id: string): Promise<number[]> {
  const { rows } = await database.pool.query<{ version: number }>(
    'select version from haus.credential_version where credential_id = $1 order by version',
    [id],
  )
  return rows.map(({ version }) => version)
}

for (const kind of databaseKinds) {
  const matrix = needsDatabase(kind)

  test(
    `${kind}: a created credential is metadata with version 1, and its service reads it`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const made = await house.credentials.create(
        { ...input, services: ['orders', 'billing'], description: 'account', cacheTtlSeconds: 5 },
        creating,
      )
      assert.deepEqual(made, {
        id: made.id,
        name: 'orders-database',
        version: 1,
        revision: 1,
        services: ['billing', 'orders'],
        description: 'account',
        expiresAt: null,
        cacheTtlSeconds: 5,
        keys: ['username', 'password'],
        createdAt: made.createdAt,
        updatedAt: made.createdAt,
      })
      assert.deepEqual(await house.credentials.get(made.id, getting), made)
      const expected = { id: made.id, version: 1, data: input.data, expiresAt: null }
      assert.deepEqual(await readValues(house.credentials, 'orders'), {
        'orders-database': expected,
      })
      const later = await house.another()
      assert.deepEqual(await later.credentials.get(made.id, getting), made)
      assert.deepEqual(await readValues(later.credentials, 'billing'), {
        'orders-database': expected,
      })
      assert.deepEqual(await readValues(later.credentials, 'others'), {})
    },
  )

  test(
    `${kind}: a live name is taken, in this process and for others at the same moment`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const other = await house.another()
      const both = await Promise.allSettled([
        ...[house, other].flatMap(({ credentials }) =>
          Array.from({ length: 4 }, () => credentials.create(input, creating)),
        ),
      ])
      const made = both.filter((each) => each.status === 'fulfilled')
      const refused = both.filter((each) => each.status === 'rejected')
      assert.equal(made.length, 1)
      for (const { reason } of refused) assert.equal(reason.code, 'name_taken')
      const { rows } = await house.database.pool.query('select id from haus.credential')
      assert.deepEqual(rows, [{ id: made[0]?.value.id }])
      const audited = (await auditOfHouse(house.database)).map(({ outcome, code }) => ({
        outcome,
        code,
      }))
      assert.deepEqual(
        audited.filter(({ outcome }) => outcome === 'failed'),
        refused.map(() => ({ outcome: 'failed', code: 'name_taken' })),
      )
      assert.equal(audited.filter(({ outcome }) => outcome === 'allowed').length, 1)
    },
  )

  test(`${kind}: with cas a version is added only to the one it names`, matrix, async () => {
    await using house = await openTestHouse(kind)
    const { id } = await house.credentials.create({ ...input, services: ['orders'] }, creating)
    const second = await house.credentials.addVersion(
      id,
      { data: { password: 'p2', pin: '1' }, cas: 1 },
      adding,
    )
    assert.equal(second.version, 2)
    assert.deepEqual(second.keys, ['password', 'pin'])
    await assert.rejects(
      house.credentials.addVersion(id, { data: { password: 'lost' }, cas: 1 }, adding),
      (error: { code: string; message: string }) =>
        error.code === 'version_conflict' && /\b1\b.*\b2\b/.test(error.message),
    )
    assert.deepEqual(await storedVersions(house, id), [1, 2])
    assert.deepEqual((await readValues(house.credentials, 'orders'))[input.name]?.data, {
      password: 'p2',
      pin: '1',
    })
  })

  test(`${kind}: of many writers with the same cas exactly one wins`, matrix, async () => {
    await using house = await openTestHouse(kind)
    const other = await house.another()
    const { id } = await house.credentials.create(input, creating)
    await until('the other process knows it', () => other.view.get(id))
    const results = await Promise.allSettled(
      Array.from({ length: 12 }, (_, n) =>
        (n % 2 ? house : other).credentials.addVersion(id, { data: { n: `${n}` }, cas: 1 }, adding),
      ),
    )
    const winners = results.filter((each) => each.status === 'fulfilled')
    assert.equal(winners.length, 1)
    for (const each of results) {
      if (each.status === 'rejected') assert.equal(each.reason.code, 'version_conflict')
    }
    assert.deepEqual(await storedVersions(house, id), [1, 2])
  })

  test(
    `${kind}: of many grants built on the same revision exactly one is written, and nothing over it`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const other = await house.another()
      const { id, revision } = await house.credentials.create(input, creating)
      await until('the other process knows it', () => other.view.get(id))
      const grant = (n: number): Promise<{ services: string[]; revision: number }> =>
        (n % 2 ? house : other).credentials.update(
          id,
          { services: [`service-${n}`], casRevision: revision },
          changing,
        )
      const results = await Promise.allSettled(Array.from({ length: 12 }, (_, n) => grant(n)))
      const [winner, ...more] = results.filter((each) => each.status === 'fulfilled')
      assert.deepEqual(more, [])
      for (const each of results) {
        if (each.status === 'fulfilled') continue
        assert.equal(each.reason.code, 'version_conflict')
        assert.equal(each.reason.fields[0].field, '/casRevision')
      }
      await assert.rejects(grant(1), { code: 'version_conflict' })
      const { credentials } = await house.another()
      const now = await credentials.get(id, getting)
      assert.deepEqual(now.services, winner?.value.services)
      assert.deepEqual([now.version, now.revision], [1, 2])
      assert.equal(winner?.value.revision, 2)
    },
  )

  test(
    `${kind}: without cas every concurrent writer gets a version of his own`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const { id } = await house.credentials.create(input, creating)
      const versions = await Promise.all(
        Array.from({ length: 20 }, async (_, n) => {
          const { version } = await house.credentials.addVersion(
            id,
            { data: { n: `${n}` } },
            adding,
          )
          const revealed = await house.credentials.reveal(id, version, revealing)
          assert.deepEqual(revealed.data, { n: `${n}` })
          return version
        }),
      )
      assert.deepEqual(
        versions.toSorted((a, b) => a - b),
        Array.from({ length: 20 }, (_, n) => n + 2),
      )
    },
  )

  test(
    `${kind}: two processes without cas build on each other instead of failing`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const other = await house.another()
      const { id } = await house.credentials.create(input, creating)
      await until('the other process knows it', () => other.view.get(id))
      const made = await Promise.all(
        [house, other, house, other, house, other].map(({ credentials }) =>
          credentials.addVersion(id, { data: { a: 'b' } }, adding),
        ),
      )
      assert.deepEqual(
        made.map(({ version }) => version).toSorted((a, b) => a - b),
        [2, 3, 4, 5, 6, 7],
      )
    },
  )

  test(
    `${kind}: changes of different fields at the same moment, in two processes, are all kept`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const other = await house.another()
      const { id } = await house.credentials.create(input, creating)
      await until('the other process knows it', () => other.view.get(id))
      await Promise.all([
        house.credentials.update(id, { description: 'kept' }, changing),
        other.credentials.update(id, { services: ['orders'] }, changing),
        house.credentials.update(id, { cacheTtlSeconds: 7 }, changing),
        other.credentials.update(id, { expiresAt: '2999-01-01T00:00:00Z' }, changing),
      ])
      const { credentials } = await house.another()
      const { description, services, cacheTtlSeconds, expiresAt } = await credentials.get(
        id,
        getting,
      )
      assert.deepEqual(
        { description, services, cacheTtlSeconds, expiresAt },
        {
          description: 'kept',
          services: ['orders'],
          cacheTtlSeconds: 7,
          expiresAt: '2999-01-01T00:00:00.000Z',
        },
      )
    },
  )

  test(`${kind}: at most 32 versions are kept, and the oldest go first`, matrix, async () => {
    await using house = await openTestHouse(kind)
    const { id } = await house.credentials.create(input, creating)
    for (let n = 2; n <= 34; n++) {
      await house.credentials.addVersion(id, { data: { password: `p${n}` } }, adding)
    }
    assert.deepEqual(
      await storedVersions(house, id),
      Array.from({ length: 32 }, (_, n) => n + 3),
    )
    assert.equal((await house.credentials.reveal(id, 3, revealing)).data['password'], 'p3')
    for (const version of [2, 35]) {
      await assert.rejects(house.credentials.reveal(id, version, revealing), {
        code: 'credential_not_found',
        message: `Credential "orders-database" has no version ${version}; 3 to 34 are kept.`,
      })
    }
  })

  test(
    `${kind}: an update changes what it names, all at once, and leaves the rest`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const { credentials } = house
      const made = await credentials.create(
        { ...input, services: ['orders'], description: 'old', expiresAt: '2999-01-01T00:00:00Z' },
        creating,
      )
      const described = await credentials.update(made.id, { description: null }, changing)
      assert.deepEqual(described, {
        ...made,
        revision: 2,
        description: null,
        updatedAt: described.updatedAt,
      })
      const all = await credentials.update(
        made.id,
        {
          data: { token: 't' },
          cas: 1,
          services: ['billing'],
          description: 'new',
          expiresAt: null,
          cacheTtlSeconds: 0,
        },
        changing,
      )
      assert.deepEqual(all, {
        ...made,
        version: 2,
        revision: 3,
        services: ['billing'],
        description: 'new',
        expiresAt: null,
        cacheTtlSeconds: 0,
        keys: ['token'],
        updatedAt: all.updatedAt,
      })
      assert.deepEqual(await credentials.get(made.id, getting), all)
      assert.deepEqual(await readValues(credentials, 'orders'), {})
      assert.deepEqual((await readValues(credentials, 'billing'))[input.name]?.data, { token: 't' })
      await assert.rejects(credentials.update(made.id, { description: 'x', cas: 1 }, changing), {
        code: 'version_conflict',
      })
      for (const nothing of [{ cas: 2 }, { casRevision: 3 }]) {
        await assert.rejects(credentials.update(made.id, nothing, changing), {
          code: 'invalid_request',
        })
      }
    },
  )

  test(
    `${kind}: a deleted credential is gone for its services, stays deleted, and frees its name`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const { credentials } = house
      const { id } = await credentials.create({ ...input, services: ['orders'] }, creating)
      await credentials.remove(id, deleting)
      assert.deepEqual(await readValues(credentials, 'orders'), {})
      await credentials.remove(id, deleting)
      for (const refused of [
        () => credentials.get(id, getting),
        () => credentials.reveal(id, undefined, revealing),
        () => credentials.addVersion(id, { data: { a: 'b' } }, adding),
        () => credentials.update(id, { services: ['orders'] }, changing),
      ]) {
        await assert.rejects(refused(), { code: 'credential_not_found' })
      }
      const again = await credentials.create({ ...input, services: ['billing'] }, creating)
      assert.notEqual(again.id, id)
      assert.equal(again.version, 1)
      const later = await house.another()
      assert.deepEqual(await readValues(later.credentials, 'orders'), {})
      assert.deepEqual(Object.keys(await readValues(later.credentials, 'billing')), [input.name])
      await assert.rejects(credentials.remove('01933b6e-7c00-7000-8000-00000000dead', deleting), {
        code: 'credential_not_found',
      })
    },
  )

  test(
    `${kind}: of deletes at the same moment, in two processes, none fails and one is recorded`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const other = await house.another()
      const { id } = await house.credentials.create(input, creating)
      await until('the other process knows it', () => other.view.get(id))
      await Promise.all(
        [house, other, house, other].map(({ credentials }) => credentials.remove(id, deleting)),
      )
      const deletes = (await auditOfHouse(house.database)).filter(
        ({ action }) => action === deleting.operation,
      )
      assert.deepEqual(
        deletes.map(({ outcome }) => outcome),
        ['allowed'],
      )
    },
  )

  test(`${kind}: what is deleted is kept for a restore, up to a limit`, matrix, async () => {
    await using house = await openTestHouse(kind, { limits: { deletedKept: 2 } })
    const other = await house.another()
    for (let n = 0; n < 4; n++) {
      const { id } = await house.credentials.create({ ...input, services: ['orders'] }, creating)
      await house.credentials.remove(id, deleting)
    }
    const { rows } = await house.database.pool.query(
      `select (select count(*) from haus.credential) as credentials,
        (select count(*) from haus.credential_version) as versions,
        (select count(*) from haus.credential_grant) as grants`,
    )
    assert.deepEqual(rows, [{ credentials: 2, versions: 2, grants: 2 }])
    // Neither process keeps more of what is gone in memory, however long it runs.
    for (const { view } of [house, other]) {
      await until('it has followed', () => view.rowsRemembered === 2)
    }
  })

  test(
    `${kind}: a change made by another process is seen here, and a revocation holds`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const other = await house.another()
      const { id } = await house.credentials.create({ ...input, services: ['orders'] }, creating)
      await until(
        'the other process hands it out',
        async () => input.name in (await readValues(other.credentials, 'orders')),
      )
      await house.credentials.addVersion(id, { data: { password: 'p2' } }, adding)
      await until(
        'the other process hands out version 2',
        async () => (await readValues(other.credentials, 'orders'))[input.name]?.version === 2,
      )
      await house.credentials.update(id, { services: [] }, changing)
      await until(
        'the other process hands it out no more',
        async () => !(input.name in (await readValues(other.credentials, 'orders'))),
      )
      assert.equal(other.credentials.status().cachedBytes, 0)
    },
  )

  test(
    `${kind}: processes that need the first key-encryption key at once make one between them`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const others = [house, await house.another(), await house.another()]
      const made = await Promise.all(
        others.map(({ credentials }, n) =>
          credentials.create(
            { name: `c${n}`, data: { n: `${n}` }, services: ['orders'] },
            creating,
          ),
        ),
      )
      const { rows } = await house.database.pool.query(
        'select version from haus.key_encryption_key',
      )
      assert.deepEqual(rows, [{ version: 1 }])
      const fresh = await house.another()
      for (const [n, { id }] of made.entries()) {
        const { data } = await fresh.credentials.reveal(id, undefined, revealing)
        assert.deepEqual(data, { n: `${n}` })
      }
    },
  )

  test(
    `${kind}: each change is one event with ids, names and whom it concerns, and one audit record`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const { credentials } = house
      const { id } = await credentials.create(
        { ...input, services: ['orders', 'billing'] },
        creating,
      )
      await credentials.addVersion(id, { data: { password: 'p2' } }, adding)
      await credentials.update(id, { services: ['orders', 'reports'] }, changing)
      await credentials.remove(id, deleting)
      const name = input.name
      const seen = house.events.map(({ type, subject, service, data }) => ({
        type,
        subject,
        service,
        data,
      }))
      const event = (kindOfEvent: string, version: number, services: string[]) => ({
        type: `haus.credential.${kindOfEvent}`,
        subject: `credentials/${name}`,
        service: null,
        data: { id, name, version, services },
      })
      assert.deepEqual(seen, [
        event('created', 1, ['billing', 'orders']),
        event('changed', 2, ['billing', 'orders']),
        event('changed', 2, ['billing', 'orders', 'reports']),
        event('deleted', 2, ['orders', 'reports']),
      ])
      const audit = await auditOfHouse(house.database)
      assert.deepEqual(
        audit.map(({ action, target, outcome, detail }) => [action, target, outcome, detail]),
        [
          [
            'createCredential',
            `credentials/${name}`,
            'allowed',
            { id, version: 1, services: ['billing', 'orders'] },
          ],
          [
            'addCredentialVersion',
            `credentials/${name}`,
            'allowed',
            { id, version: 2, changed: ['values'] },
          ],
          [
            'updateCredential',
            `credentials/${name}`,
            'allowed',
            { id, version: 2, changed: ['services'], services: ['orders', 'reports'] },
          ],
          ['deleteCredential', `credentials/${name}`, 'allowed', { id, version: 2 }],
        ],
      )
    },
  )

  test(
    `${kind}: pages of the list follow each other by name, whatever happens in between`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const { credentials } = house
      const ids = new Map<string, string>()
      for (const name of ['b', 'd', 'a-2', 'c', 'a.1', 'e']) {
        const services = name < 'c' ? ['orders'] : []
        const { id } = await credentials.create({ name, data: { a: 'b' }, services }, creating)
        ids.set(name, id)
      }
      const first = credentials.list({ limit: 2 })
      assert.deepEqual(
        first.items.map(({ name }) => name),
        ['a-2', 'a.1'],
      )
      await credentials.remove(ids.get('a.1')!, deleting)
      await credentials.create({ name: 'a-0', data: { a: 'b' } }, creating)
      const second = credentials.list({ limit: 3, cursor: first.nextCursor! })
      assert.deepEqual(
        second.items.map(({ name }) => name),
        ['b', 'c', 'd'],
      )
      const last = credentials.list({ limit: 3, cursor: second.nextCursor! })
      assert.deepEqual(
        last.items.map(({ name }) => name),
        ['e'],
      )
      assert.equal(last.nextCursor, null)
      const granted = credentials.list({ service: 'orders', limit: 1 })
      assert.deepEqual(
        granted.items.map(({ name }) => name),
        ['a-2'],
      )
      const rest = credentials.list({ service: 'orders', cursor: granted.nextCursor! })
      assert.deepEqual(
        rest.items.map(({ name }) => name),
        ['b'],
      )
      assert.equal(rest.nextCursor, null)
      assert.equal(credentials.list({ limit: 6 }).nextCursor, null)
    },
  )

  test(`${kind}: a grant to an alias is one to the service behind it`, matrix, async () => {
    await using house = await openTestHouse(kind, { aliases: { o: 'orders' } })
    const { credentials } = house
    const { id, services } = await credentials.create(
      { ...input, services: ['o', 'orders'] },
      creating,
    )
    assert.deepEqual(services, ['orders'])
    assert.deepEqual(Object.keys(await readValues(credentials, 'orders')), [input.name])
    assert.equal(credentials.list({ service: 'o' }).items[0]?.id, id)
    assert.deepEqual(credentials.versionsOf('o'), { [input.name]: 1 })
    const { body } = await credentials.readFor(
      'o',
      undefined,
      serviceDoes('orders', 'getServiceCredentials'),
    )
    assert.equal(JSON.parse(String(body)).service, 'orders')
  })

  test(
    `${kind}: input that cannot be meant is refused by its field, and nothing is written`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const { credentials } = house
      const create = (more: object) => credentials.create({ ...input, ...more }, creating)
      const refused: [() => Promise<unknown>, string][] = [
        [() => create({ data: { big: 'x'.repeat(64 * 1024) } }), '/data'],
        [() => create({ data: { a: '\n'.repeat(33 * 1024) } }), '/data'],
        [() => create({ expiresAt: '2999-02-30T00:00:00Z' }), '/expiresAt'],
        [() => create({ expiresAt: '2999-01-01T24:00:00Z' }), '/expiresAt'],
        [() => create({ expiresAt: '2999-13-01T00:00:00Z' }), '/expiresAt'],
        [() => create({ expiresAt: '0000-01-01T00:00:00Z' }), '/expiresAt'],
        [() => create({ expiresAt: '2001-01-01T00:00:00Z' }), '/expiresAt'],
        [() => create({ services: ['orders', 'gateway'] }), '/services/1'],
      ]
      for (const [attempt, field] of refused) {
        await assert.rejects(attempt(), (error: { code: string; fields: { field: string }[] }) => {
          assert.equal(error.code, 'invalid_request')
          assert.equal(error.fields[0]?.field, field)
          return true
        })
      }
      for (const cursor of ['nonsense', 'MTph=', '']) {
        assert.throws(() => credentials.list({ cursor }), {
          code: 'invalid_request',
          fields: [{ field: 'query.cursor', detail: 'is not a cursor of this list' }],
        })
      }
      assert.deepEqual(await auditOfHouse(house.database), [])
      const { rows } = await house.database.pool.query('select id from haus.credential')
      assert.deepEqual(rows, [])
    },
  )
}
