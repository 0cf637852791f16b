import assert from 'node:assert/strict'
import { test } from 'node:test'
import { databaseKinds, needsDatabase } from '../../testing/databases.ts'
import type { Fault } from './integrity.ts'
import {
  auditOfHouse,
  openTestHouse,
  operatorDoes,
  readValues,
  serviceDoes,
  type TestHouse,
  type TestProcess,
} from '../../testing/credentials-house.ts'

const creating = operatorDoes('createCredential')
const adding = operatorDoes('addCredentialVersion')
const changing = operatorDoes('updateCredential')
const deleting = operatorDoes('deleteCredential')
const revealing = operatorDoes('revealCredential')

/** `a` has two versions and is granted to orders; `b` one, granted to billing; `gone` is deleted. */
interface Ids {
  readonly a: string
  readonly b: string
  readonly gone: string
}

interface Tampering {
  readonly name: string
  /** $1 is `a`, $2 is `b`, $3 is `gone`. */
  readonly sql: string
  /** Runs first, through Haus, so that there is something old to replay. */
  readonly before?: (house: TestHouse, ids: Ids) => Promise<unknown>
  /** Whose read meets it. */
  readonly reader: 'orders' | 'billing' | 'evil'
  readonly table: Fault['table']
  /** Who is not concerned and goes on reading. */
  readonly bystander: 'orders' | 'billing'
}

const keep = 'create table haus.kept as select * from haus.'

const tamperings: readonly Tampering[] = [
  {
    name: 'the pointer to the current version is set back',
    sql: 'update haus.credential set current_version = 1 where id = $1',
    reader: 'orders',
    table: 'credential',
    bystander: 'billing',
  },
  {
    name: 'the whole old row of a credential is put back beside its newer version',
    before: async ({ database, credentials }, { a }) => {
      await database.pool.query(`${keep}credential where name = 'a'`)
      await credentials.addVersion(a, { data: { v: 'a3' } }, adding)
    },
    sql: `with old as (select * from haus.kept)
      update haus.credential c set current_version = old.current_version, revision = old.revision,
        value_names = old.value_names, updated_at = old.updated_at, mac = old.mac
      from old where c.id = old.id and c.id = $1`,
    reader: 'orders',
    table: 'credential',
    bystander: 'billing',
  },
  {
    name: 'the row of the current version is deleted',
    sql: 'delete from haus.credential_version where credential_id = $1 and version = 2',
    reader: 'orders',
    table: 'credential',
    bystander: 'billing',
  },
  {
    name: 'a grant is inserted with the MAC of another',
    sql: `insert into haus.credential_grant
      select credential_id, 'evil', created_at, mac from haus.credential_grant where credential_id = $1`,
    reader: 'evil',
    table: 'credential_grant',
    bystander: 'orders',
  },
  {
    name: 'a grant is edited to name another service',
    sql: `update haus.credential_grant set service = 'evil' where credential_id = $1`,
    reader: 'evil',
    table: 'credential_grant',
    bystander: 'billing',
  },
  {
    name: 'a grant is moved to another credential',
    sql: 'update haus.credential_grant set credential_id = $2 where credential_id = $1',
    reader: 'orders',
    table: 'credential_grant',
    bystander: 'billing',
  },
  {
    name: 'a grant that was taken back is put in again',
    before: async ({ database, credentials }, { b }) => {
      await credentials.update(b, { services: ['billing', 'evil'] }, changing)
      await database.pool.query(`${keep}credential_grant where service = 'evil'`)
      await credentials.update(b, { services: ['billing'] }, changing)
    },
    sql: 'insert into haus.credential_grant select * from haus.kept where credential_id = $2',
    reader: 'evil',
    table: 'credential_grant',
    bystander: 'billing',
  },
  {
    name: 'a deleted credential is brought back',
    sql: 'update haus.credential set deleted_at = null where id = $3',
    reader: 'orders',
    table: 'credential',
    bystander: 'billing',
  },
  {
    name: 'a live credential is marked as deleted',
    sql: 'update haus.credential set deleted_at = now() where id = $1',
    reader: 'orders',
    table: 'credential',
    bystander: 'billing',
  },
  ...[
    'expires_at = null',
    `expires_at = 'infinity'`,
    'cache_ttl_seconds = 3600',
    `value_names = '{v,w}'`,
    `name = 'renamed'`,
    `description = 'x'`,
    'revision = revision + 1',
    'grants_revision = 2',
  ].map((set): Tampering => ({
    name: `a column of a credential is edited: ${set}`,
    sql: `update haus.credential set ${set} where id = $1`,
    reader: 'orders',
    table: 'credential',
    bystander: 'billing',
  })),
  {
    name: 'the ciphertext of an older version is put under the current one',
    sql: `update haus.credential_version v set blob = o.blob, wrapped_key = o.wrapped_key, kek_version = o.kek_version
      from haus.credential_version o
      where v.credential_id = $1 and v.version = 2 and o.credential_id = $1 and o.version = 1`,
    reader: 'orders',
    table: 'credential_version',
    bystander: 'billing',
  },
  {
    name: `the ciphertext of another's credential is put under one's own`,
    sql: `update haus.credential_version v set blob = o.blob, wrapped_key = o.wrapped_key
      from haus.credential_version o
      where v.credential_id = $2 and o.credential_id = $1 and o.version = 2`,
    reader: 'billing',
    table: 'credential_version',
    bystander: 'orders',
  },
  ...['blob', 'wrapped_key'].map((column): Tampering => ({
    name: `a single column is exchanged between two credentials: ${column}`,
    sql: `update haus.credential_version v set ${column} = o.${column}
        from haus.credential_version o
        where v.credential_id = $2 and o.credential_id = $1 and o.version = 2`,
    reader: 'billing',
    table: 'credential_version',
    bystander: 'orders',
  })),
]

/** A statement of these has all three ids, whether it needs them or not: a type for each is enough. */
async function tamper(house: TestHouse, statement: string, ids: Ids): Promise<void> {
  const text = statement
    .replaceAll('$1', `'${ids.a}'`)
    .replaceAll('$2', `'${ids.b}'`)
    .replaceAll('$3', `'${ids.gone}'`)
  const { rowCount } = await house.database.pool.query(text)
  assert.equal(rowCount, 1, 'the tampering did nothing')
}

async function furnish({ credentials }: TestHouse): Promise<Ids> {
  const make = (name: string, services: string[]) =>
    credentials.create(
      { name, data: { v: `${name}1` }, services, expiresAt: '2999-01-01T00:00:00Z' },
      creating,
    )
  const a = await make('a', ['orders'])
  await credentials.addVersion(a.id, { data: { v: 'a2' } }, adding)
  const b = await make('b', ['billing'])
  const gone = await make('gone', ['orders'])
  await credentials.remove(gone.id, deleting)
  return { a: a.id, b: b.id, gone: gone.id }
}

function reports({ logged }: TestProcess): { table: string; id: string }[] {
  return logged
    .map((line) => JSON.parse(line))
    .filter(({ level, msg }) => level === 'error' && String(msg).includes('integrity'))
}

for (const kind of databaseKinds) {
  const matrix = needsDatabase(kind)

  test(
    `${kind}: what a writer in the database does is refused by the read that meets it, reported once, and hurts nobody else`,
    matrix,
    async (t) => {
      for (const { name, sql, before, reader, table, bystander } of tamperings) {
        await t.test(name, async () => {
          await using house = await openTestHouse(kind)
          const ids = await furnish(house)
          await before?.(house, ids)
          await tamper(house, sql, ids)
          const restarted = await house.another()
          const refused = async (): Promise<void> => {
            await assert.rejects(readValues(restarted.credentials, reader), {
              code: 'integrity_failed',
            })
          }
          await refused()
          await refused()
          const found = reports(restarted)
          assert.deepEqual(
            found.map((each) => each.table),
            [table],
          )
          assert.ok(restarted.credentials.status().integrityFailures >= 2)
          const audit = await auditOfHouse(house.database)
          assert.deepEqual(
            audit.slice(-2).map(({ outcome, code, actor }) => [outcome, code, actor]),
            [
              ['failed', 'integrity_failed', `service:${reader}`],
              ['failed', 'integrity_failed', `service:${reader}`],
            ],
          )
          assert.equal(Object.keys(await readValues(restarted.credentials, bystander)).length, 1)
          await assert.rejects(
            restarted.credentials.grantedTo(
              reader,
              undefined,
              serviceDoes(reader, 'registerInstance'),
            ),
            { code: 'integrity_failed' },
          )
        })
      }
    },
  )

  test(
    `${kind}: in a running process an old row is refused even after its newer version was removed`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const { a } = await furnish(house)
      await house.database.pool.query(`${keep}credential where name = 'a'`)
      await house.credentials.addVersion(a, { data: { v: 'a3' } }, adding)
      await house.database.pool.query('delete from haus.credential_version where version = 3')
      await house.database.pool.query(
        `update haus.credential c set current_version = old.current_version, revision = old.revision,
        updated_at = old.updated_at, mac = old.mac from haus.kept old where c.id = old.id`,
      )
      for (let n = 0; n < 3; n++) {
        await assert.rejects(house.credentials.update(a, { description: 'x' }, changing), {
          code: 'integrity_failed',
        })
      }
      await assert.rejects(readValues(house.credentials, 'orders'), { code: 'integrity_failed' })
      assert.equal(reports(house).length, 1)
    },
  )

  test(`${kind}: an operator's reads meet it too, and the list leaves it out`, matrix, async () => {
    await using house = await openTestHouse(kind)
    const ids = await furnish(house)
    await tamper(house, 'update haus.credential set current_version = 1 where id = $1', ids)
    const { credentials } = await house.another()
    for (const refused of [
      () => credentials.get(ids.a, operatorDoes('getCredential')),
      () => credentials.reveal(ids.a, undefined, revealing),
      () => credentials.addVersion(ids.a, { data: { v: 'x' } }, adding),
      () => credentials.update(ids.a, { services: ['orders'] }, changing),
    ]) {
      await assert.rejects(refused(), { code: 'integrity_failed' })
    }
    assert.deepEqual(
      credentials.list({}).items.map(({ name }) => name),
      ['b'],
    )
    assert.deepEqual(credentials.versionsOf('orders'), {})
    const audit = await auditOfHouse(house.database)
    assert.deepEqual(
      audit.slice(-4).map(({ outcome }) => outcome),
      ['failed', 'failed', 'failed', 'failed'],
    )
  })

  test(
    `${kind}: a credential that failed can be deleted and made again; a forged grant ends with the next set`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const ids = await furnish(house)
      await tamper(house, 'update haus.credential set current_version = 1 where id = $1', ids)
      await tamper(
        house,
        `insert into haus.credential_grant select credential_id, 'evil', created_at, mac
       from haus.credential_grant where credential_id = $2`,
        ids,
      )
      const { credentials } = await house.another()
      await assert.rejects(credentials.create({ name: 'a', data: { v: 'x' } }, creating), {
        code: 'name_taken',
      })
      await credentials.remove(ids.a, deleting)
      const again = await credentials.create(
        { name: 'a', data: { v: 'x' }, services: ['orders'] },
        creating,
      )
      assert.equal((await readValues(credentials, 'orders'))['a']?.id, again.id)
      await assert.rejects(readValues(credentials, 'evil'), { code: 'integrity_failed' })
      await credentials.update(ids.b, { services: ['billing'] }, changing)
      assert.deepEqual(await readValues(credentials, 'evil'), {})
      assert.deepEqual(Object.keys(await readValues(credentials, 'billing')), ['b'])
    },
  )

  test(
    `${kind}: damaged values refuse the registrations that need them, and no other`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const { credentials, database } = house
      const make = (name: string) =>
        credentials.create({ name, data: { v: name }, services: ['orders'] }, creating)
      const damaged = await make('damaged')
      const sound = await make('sound')
      await database.pool.query(
        `update haus.credential_version set blob = set_byte(blob, 20, get_byte(blob, 20) # 1)
         where credential_id = $1`,
        [damaged.id],
      )
      const registering = serviceDoes('orders', 'registerInstance')
      const granted = await credentials.grantedTo('orders', ['sound'], registering)
      assert.deepEqual(granted.credentials, {
        sound: { id: sound.id, version: 1, data: { v: 'sound' }, expiresAt: null },
      })
      assert.deepEqual(granted.auditDetail, { credentials: { sound: 1 } })
      assert.deepEqual(reports(house), [])
      for (const needed of [['damaged'], ['sound', 'damaged'], undefined]) {
        await assert.rejects(
          credentials.grantedTo('orders', needed, registering),
          (error: { code: string; message: string }) =>
            error.code === 'integrity_failed' && error.message.includes('"damaged"'),
        )
      }
      await assert.rejects(readValues(credentials, 'orders'), { code: 'integrity_failed' })
    },
  )

  test(
    `${kind}: a key-encryption key that was changed, and a wrong root key, refuse by name`,
    matrix,
    async () => {
      await using house = await openTestHouse(kind)
      const { a } = await furnish(house)
      await house.database.pool.query(
        `update haus.key_encryption_key set wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)`,
      )
      const restarted = await house.another()
      await assert.rejects(
        readValues(restarted.credentials, 'orders'),
        (error: { code: string; message: string }) =>
          error.code === 'integrity_failed' && error.message.includes('key_encryption_key'),
      )
      await assert.rejects(restarted.credentials.addVersion(a, { data: { v: 'x' } }, adding), {
        code: 'integrity_failed',
      })
      assert.deepEqual(
        reports(restarted).map(({ table, id }) => [table, id]),
        [['key_encryption_key', '1']],
      )
      assert.equal((await readValues(house.credentials, 'orders'))['a']?.data['v'], 'a2')
    },
  )
}
