/** A writer in the database cannot add himself: what `identity-keys.ts` promises, with real SQL. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { mac, rowMac, deriveKey, Secret, systemRandom } from '../../platform/crypto/index.ts'
import type { LedgerEvent } from '../../platform/ledger/index.ts'
import { databaseKinds, needsDatabase, reuseDatabases } from '../../testing/databases.ts'
import { contextOf, openTestIdentity, type TestIdentity } from '../../testing/identity.ts'
import type { NewKey } from './service.ts'

reuseDatabases(after)

const makeKey = ({ identity }: TestIdentity, service: string): Promise<NewKey> =>
  identity.createServiceKey(service, contextOf('createServiceKey'))

const mayIn = ({ identity }: TestIdentity, { clientId, clientSecret }: NewKey) =>
  identity
    .issueToken(
      { clientId, clientSecret: clientSecret.reveal() },
      'haus',
      contextOf('issueToken', { source: clientId }),
    )
    .then(
      () => true,
      () => false,
    )

const reports = ({ records }: TestIdentity) =>
  records
    .filter((record) => record.level === 'error')
    .map((record) => `${String(record['table'])} ${String(record['id'])}`)

/** Everything an attacker can know without the root key: the code, and all rows. */
interface Attack {
  readonly name: string
  /** Writes, and returns the ids of the rows that must be refused and reported. */
  run(house: TestIdentity, victim: NewKey, own: NewKey): Promise<string[]>
}

const attackers = new Secret(Buffer.alloc(32, 0x41))

const attacks: Attack[] = [
  {
    name: 'inserts a key of his own, hashed and authenticated with a key of his own',
    async run({ database, clock }, victim) {
      const clientId = systemRandom.id()
      const secretHash = mac(attackers, Buffer.from(clientId), Buffer.from('hsk_known'))
      const createdAt = clock.now()
      const columns = { clientId, service: victim.service, secretHash, createdAt, revokedAt: null }
      await database.pool.query('insert into haus.service_key values ($1, $2, $3, $4, null, $5)', [
        clientId,
        victim.service,
        secretHash,
        createdAt,
        rowMac(deriveKey(attackers, 'haus/identity-rows/v1'), 'service_key', columns),
      ])
      return [clientId]
    },
  },
  {
    name: 'copies a good row under another id',
    async run({ database }, victim) {
      const clientId = systemRandom.id()
      await database.pool.query(
        `insert into haus.service_key
         select $1, service, secret_hash, created_at, revoked_at, mac from haus.service_key where client_id = $2`,
        [clientId, victim.clientId],
      )
      return [clientId]
    },
  },
  {
    name: 'makes his key one of another service',
    async run({ database }, victim, own) {
      await database.pool.query('update haus.service_key set service = $2 where client_id = $1', [
        own.clientId,
        victim.service,
      ])
      return [own.clientId]
    },
  },
  {
    name: 'puts the hash of his secret, or his whole hash and MAC, into another’s row',
    async run({ database }, victim, own) {
      await database.pool.query(
        `update haus.service_key v set secret_hash = o.secret_hash, mac = o.mac
         from haus.service_key o where v.client_id = $1 and o.client_id = $2`,
        [victim.clientId, own.clientId],
      )
      return [victim.clientId]
    },
  },
  {
    name: 'swaps the hashes of two rows',
    async run({ database }, victim, own) {
      await database.pool.query(
        `update haus.service_key a set secret_hash = b.secret_hash
         from haus.service_key b
         where a.client_id <> b.client_id and a.client_id = any($1) and b.client_id = any($1)`,
        [[victim.clientId, own.clientId]],
      )
      return [victim.clientId, own.clientId]
    },
  },
  {
    name: 'brings a revoked key back by clearing the time of its end',
    async run(house, _victim, own) {
      await house.identity.revokeServiceKey(
        own.service,
        own.clientId,
        contextOf('revokeServiceKey'),
      )
      await house.database.pool.query(
        `update haus.service_key set revoked_at = null where client_id = $1`,
        [own.clientId],
      )
      return [own.clientId]
    },
  },
  {
    name: 'changes when a key was made, also to a time that is none',
    async run({ database }, victim, own) {
      await database.pool.query(
        `update haus.service_key set created_at = created_at - interval '1 ms' where client_id = $1`,
        [victim.clientId],
      )
      await database.pool.query(
        `update haus.service_key set created_at = 'infinity' where client_id = $1`,
        [own.clientId],
      )
      return [victim.clientId, own.clientId]
    },
  },
  {
    name: 'cuts a MAC short or empties it',
    async run({ database }, victim, own) {
      await database.pool.query(
        `update haus.service_key set mac = substring(mac from 1 for 16) where client_id = $1`,
        [victim.clientId],
      )
      await database.pool.query(`update haus.service_key set mac = '' where client_id = $1`, [
        own.clientId,
      ])
      return [victim.clientId, own.clientId]
    },
  },
  {
    name: 'inserts an operator token',
    async run({ database, clock }) {
      const id = systemRandom.id()
      await database.pool.query('insert into haus.operator_token values ($1, $2, $3, $4)', [
        id,
        mac(attackers, Buffer.from('haus_op_known')),
        clock.now(),
        Buffer.alloc(32),
      ])
      return [id]
    },
  },
]

for (const kind of databaseKinds) {
  test(`${kind}: a writer in the database cannot add himself`, needsDatabase(kind), async (t) => {
    let house = await openTestIdentity(kind)
    const outcomes: { keys: readonly NewKey[]; forged: readonly string[] }[] = []
    try {
      for (const [n, attack] of attacks.entries()) {
        await t.test(`refused and reported: he ${attack.name}`, async () => {
          const victim = await makeKey(house, `orders-${n}`)
          const own = await makeKey(house, `own-${n}`)
          assert.ok((await mayIn(house, victim)) && (await mayIn(house, own)))
          const forged = await attack.run(house, victim, own)
          outcomes.push({ keys: [victim, own], forged })
          // An event of his names the rows, so that a running house reads them again.
          await house.view.apply([
            ...forged.map((clientId) => event('haus.key.created', { clientId })),
            event('haus.operator.changed', { tokenId: forged[0] }),
          ])
          await assertRefused(house, [victim, own], forged)
        })
      }
      await t.test('refused and reported: all of it, when the house opens again', async () => {
        house = await house.restart()
        for (const { keys, forged } of outcomes) await assertRefused(house, keys, forged)
        const all = outcomes.flatMap(({ forged }) => forged)
        assert.equal(house.identity.status().integrityFailures, all.length)
        assert.equal(house.view.operatorTokens, 1, 'the true operator is still in')
      })
    } finally {
      await house[Symbol.asyncDispose]()
    }
  })
}

function event(type: string, data: Record<string, unknown>): LedgerEvent {
  return { index: 1, time: '', type, subject: '', service: null, data }
}

async function assertRefused(
  house: TestIdentity,
  keys: readonly NewKey[],
  forged: readonly string[],
): Promise<void> {
  for (const id of forged) {
    assert.equal(house.view.key(id), undefined)
    const reported = reports(house).filter((line) => line.endsWith(id))
    assert.equal(reported.length, 1, 'reported once')
    assert.match(reported[0] ?? '', /^haus\.(service_key|operator_token) /, 'the table is named')
  }
  for (const key of keys) {
    assert.equal(await mayIn(house, key), !forged.includes(key.clientId))
  }
}

test('a revoked key whose whole former row is put back stays revoked in a running house', async () => {
  const kind = needsDatabase('postgres').skip ? 'embedded' : 'postgres'
  await using house = await openTestIdentity(kind)
  const key = await makeKey(house, 'own')
  const { pool } = house.database
  await pool.query('create table public.saved as select * from haus.service_key')
  await house.identity.revokeServiceKey('own', key.clientId, contextOf('revokeServiceKey'))
  await pool.query('delete from haus.service_key')
  await pool.query('insert into haus.service_key select * from public.saved')
  await house.view.apply([event('haus.key.created', { clientId: key.clientId })])
  assert.equal(await mayIn(house, key), false)
  assert.equal(reports(house).length, 1)
})

test('a row that is taken out while the house runs ends its tokens when it is asked to end', async () => {
  const kind = needsDatabase('postgres').skip ? 'embedded' : 'postgres'
  await using house = await openTestIdentity(kind)
  const key = await makeKey(house, 'own')
  await house.database.pool.query('delete from haus.service_key')
  await house.identity.revokeServiceKey('own', key.clientId, contextOf('revokeServiceKey'))
  assert.equal(await mayIn(house, key), false)
})

test('thousands of forged rows are counted and do not fill the log', async () => {
  const kind = needsDatabase('postgres').skip ? 'embedded' : 'postgres'
  await using house = await openTestIdentity(kind)
  await house.database.pool.query(
    `insert into haus.service_key
     select gen_random_uuid(), 'orders', '\\x00', now(), null, '\\x00' from generate_series(1, 5000)`,
  )
  await house.view.load(house.database.db)
  assert.equal(house.view.integrityFailures, 5_000)
  assert.equal(house.view.size, 0)
  assert.equal(reports(house).length, 100)
})

test('events with ids that are none name no row', async () => {
  const kind = needsDatabase('postgres').skip ? 'embedded' : 'postgres'
  await using house = await openTestIdentity(kind)
  for (const clientId of [1, null, "'; drop table haus.service_key; --", ['x'], {}]) {
    await house.view.apply([event('haus.key.revoked', { clientId, forgotten: clientId })])
  }
  await makeKey(house, 'own')
})
