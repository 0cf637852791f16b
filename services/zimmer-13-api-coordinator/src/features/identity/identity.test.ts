// Longer than 600 lines because every promise of identity shares one stage.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { after, test } from 'node:test'
import { HausError, type ErrorCode } from '@haus/contract'
import type { Caller } from '../../platform/http/caller.ts'
import { systemRandom } from '../../platform/crypto/index.ts'
import { openDatabase } from '../../platform/database/index.ts'
import { createLedger } from '../../platform/ledger/index.ts'
import { systemClock } from '../../platform/clock/clock.ts'
import { databaseKinds, needsDatabase, reuseDatabases, silentLog } from '../../testing/databases.ts'
import {
  contextOf,
  openTestIdentity,
  recordLog,
  type TestIdentity,
} from '../../testing/identity.ts'
import { until } from '../../testing/until.ts'
import type { Tables } from '../tables.ts'
import { createAccessTokens } from './access-tokens.ts'
import { createIdentityView } from './identity-view.ts'
import type { NewKey } from './service.ts'

reuseDatabases(after)

const source = '192.0.2.1'

function makeKey({ identity }: TestIdentity, service = 'orders'): Promise<NewKey> {
  return identity.createServiceKey(service, contextOf('createServiceKey'))
}

async function tokenOf(
  { identity }: TestIdentity,
  key: NewKey,
  { secret = key.clientSecret.reveal(), from = source } = {},
): Promise<string> {
  const { accessToken } = await identity.issueToken(
    { clientId: key.clientId, clientSecret: secret },
    'haus',
    contextOf('issueToken', { source: from }),
  )
  return accessToken.reveal()
}

async function callerOf({ identity }: TestIdentity, token: string, from = source): Promise<Caller> {
  return identity.authenticate(`Bearer ${token}`, from)
}

async function refused(asking: Promise<unknown>, code: ErrorCode): Promise<HausError> {
  const error = await asking.then(
    () => assert.fail(`${code} was expected`),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof HausError, String(error))
  assert.equal(error.code, code)
  return error
}

/** A promise even for what is thrown at once. */
async function ask(house: TestIdentity, authorization: string | undefined, from = source) {
  return house.identity.authenticate(authorization, from)
}

function operatorToken({ database }: TestIdentity): string {
  return fs.readFileSync(path.join(database.location.dataDir, 'operator.token'), 'utf8').trim()
}

async function audits({ database }: TestIdentity, action: string) {
  const { rows } = await database.pool.query<{
    actor: string
    target: string
    outcome: string
    code: string | null
    source: string | null
  }>('select actor, target, outcome, code, source from haus.audit where action = $1 order by id', [
    action,
  ])
  return rows
}

for (const kind of databaseKinds) {
  const matrix = needsDatabase(kind)

  test(
    `${kind}: a key is made, trades for a token, and the token speaks for its service`,
    matrix,
    async () => {
      await using house = await openTestIdentity(kind)
      const key = await makeKey(house)
      assert.match(key.clientSecret.reveal(), /^hsk_[A-Za-z0-9_-]{43}$/)
      assert.equal(JSON.stringify(key).includes('hsk_'), false)
      const caller = await callerOf(house, await tokenOf(house, key))
      assert.equal(caller.kind, 'service')
      assert.equal(caller.actor, 'service:orders')
      assert.equal(caller.service, 'orders')
      assert.equal(caller.expiresAtMonotonicMs, house.clock.monotonicMs() + 905_000)

      const [listed] = house.identity.listServiceKeys('orders', { limit: 10 }).items
      assert.deepEqual(listed, {
        clientId: key.clientId,
        service: 'orders',
        createdAt: key.createdAt,
        revokedAt: null,
        lastUsedAt: house.clock.now().toISOString(),
      })
      const target = `services/orders/keys/${key.clientId}`
      const allowed = { target, outcome: 'allowed', code: null, source }
      assert.deepEqual(await audits(house, 'createServiceKey'), [{ actor: 'operator', ...allowed }])
      assert.deepEqual(await audits(house, 'issueToken'), [{ actor: 'service:orders', ...allowed }])
    },
  )

  test(`${kind}: keys outlive the process, and so does their end`, matrix, async () => {
    let house = await openTestIdentity(kind)
    try {
      const kept = await makeKey(house)
      const ended = await makeKey(house)
      const [keptToken, endedToken] = [await tokenOf(house, kept), await tokenOf(house, ended)]
      await house.identity.revokeServiceKey('orders', ended.clientId, contextOf('revokeServiceKey'))
      house = await house.restart()
      assert.equal((await callerOf(house, keptToken)).service, 'orders')
      await refused(callerOf(house, endedToken), 'token_revoked')
      await refused(tokenOf(house, ended), 'invalid_client')
      assert.equal(house.view.integrityFailures, 0)
    } finally {
      await house[Symbol.asyncDispose]()
    }
  })

  test(
    `${kind}: revocation holds from the moment it is acknowledged, and again does no harm`,
    matrix,
    async () => {
      await using house = await openTestIdentity(kind)
      const key = await makeKey(house)
      const sibling = await makeKey(house)
      const token = await tokenOf(house, key)
      const caller = await callerOf(house, token)
      const siblingCaller = await callerOf(house, await tokenOf(house, sibling))
      assert.ok(caller.revoked && !caller.revoked.aborted)
      const context = contextOf('revokeServiceKey')
      await house.identity.revokeServiceKey('orders', key.clientId, context)
      assert.ok(caller.revoked.aborted, 'streams of the key end')
      assert.equal(siblingCaller.revoked?.aborted, false, 'those of another key go on')
      await refused(callerOf(house, token), 'token_revoked')
      await refused(tokenOf(house, key), 'invalid_client')
      await house.identity.revokeServiceKey('orders', key.clientId, context)
      assert.equal((await audits(house, 'revokeServiceKey')).length, 1)
      await refused(
        house.identity.revokeServiceKey('billing', key.clientId, context),
        'key_not_found',
      )
    },
  )

  test(
    `${kind}: a service has 16 live keys at most, however many ask at once`,
    matrix,
    async () => {
      await using house = await openTestIdentity(kind)
      const results = await Promise.allSettled(Array.from({ length: 20 }, () => makeKey(house)))
      const made = results.flatMap((result) =>
        result.status === 'fulfilled' ? [result.value] : [],
      )
      assert.equal(made.length, 16)
      for (const result of results) {
        if (result.status === 'rejected') assert.equal(result.reason.code, 'limit_reached')
      }
      const { rows } = await house.database.pool.query('select 1 from haus.service_key')
      assert.equal(rows.length, 16, 'the database was asked, not only the view')
      await makeKey(house, 'billing')
      await house.identity.revokeServiceKey(
        'orders',
        made[0]!.clientId,
        contextOf('revokeServiceKey'),
      )
      await makeKey(house)
      await refused(makeKey(house), 'limit_reached')
    },
  )

  test(
    `${kind}: the newest 64 revoked keys stay listed, page by page, and older ones go`,
    matrix,
    async () => {
      await using house = await openTestIdentity(kind)
      const live = await makeKey(house)
      const ended: string[] = []
      for (let n = 0; n < 67; n += 1) {
        const { clientId } = await makeKey(house)
        house.clock.advance(1)
        await house.identity.revokeServiceKey('orders', clientId, contextOf('revokeServiceKey'))
        ended.push(clientId)
      }
      const listed: string[] = []
      let cursor: string | undefined
      do {
        const page = house.identity.listServiceKeys('orders', { limit: 10, cursor })
        listed.push(...page.items.map((item) => item.clientId))
        cursor = page.nextCursor ?? undefined
      } while (cursor !== undefined)
      assert.deepEqual(listed, [live.clientId, ...ended.slice(-64)].toSorted())
      const { rows } = await house.database.pool.query('select 1 from haus.service_key')
      assert.equal(rows.length, 65)
    },
  )

  test(
    `${kind}: revoked keys leave the place of live ones free, the oldest of the house go, and their tokens stay refused`,
    matrix,
    async () => {
      let house = await openTestIdentity(kind, undefined, { liveKeys: 3, revokedKeys: 4 })
      try {
        const revoke = async ({ service, clientId }: NewKey): Promise<void> => {
          house.clock.advance(1)
          await house.identity.revokeServiceKey(service, clientId, contextOf('revokeServiceKey'))
        }
        const first = await makeKey(house, 's0')
        const token = await tokenOf(house, first)
        const all = [first, await makeKey(house, 's1'), await makeKey(house, 's2')]
        const { message } = await refused(makeKey(house, 's3'), 'limit_reached')
        assert.match(message, /3 live keys.*DELETE \/api\/services\/\{name\}\/keys/)
        for (const key of all) await revoke(key)
        for (const service of ['s3', 's4', 's5', 's6']) {
          const key = await makeKey(house, service)
          all.push(key)
          await revoke(key)
        }
        const last = await makeKey(house, 's7')
        for (const turn of ['running', 'restarted']) {
          if (turn === 'restarted') house = await house.restart()
          assert.equal(house.view.key(first.clientId), undefined, turn)
          assert.deepEqual(
            [...all.slice(-4), last].map(({ clientId }) => house.view.key(clientId)?.row.clientId),
            [...all.slice(-4), last].map(({ clientId }) => clientId),
            'the newest 4 are still listed',
          )
          await refused(callerOf(house, token), 'token_revoked')
        }
        const { rows } = await house.database.pool.query('select 1 from haus.service_key')
        assert.equal(rows.length, 5)
      } finally {
        await house[Symbol.asyncDispose]()
      }
    },
  )

  test(
    `${kind}: the operator's token opens everything, and its renewal ends the old one`,
    matrix,
    async () => {
      await using house = await openTestIdentity(kind)
      const old = operatorToken(house)
      const caller = await callerOf(house, old)
      assert.equal(caller.kind, 'operator')
      assert.equal(caller.expiresAtMonotonicMs, null)
      const file = await house.identity.renewOperatorToken()
      assert.equal(file, path.join(house.database.location.dataDir, 'operator.token'))
      assert.ok(caller.revoked?.aborted)
      await refused(callerOf(house, old), 'token_invalid')
      const renewed = operatorToken(house)
      assert.notEqual(renewed, old)
      assert.equal((await callerOf(house, renewed)).kind, 'operator')
      assert.equal(fs.statSync(file).mode & 0o777, 0o600)
      assert.equal((await audits(house, 'renewOperatorToken'))[0]?.actor, 'haus')
    },
  )
}

const anyKind = needsDatabase('postgres').skip ? 'embedded' : 'postgres'

test('no token, another scheme and what is no token are told apart from a wrong token', async () => {
  await using house = await openTestIdentity(anyKind)
  for (const authorization of [undefined, '', 'Bearer', 'Bearer ', 'Basic YTpi', 'Bearer a b']) {
    await refused(ask(house, authorization), 'unauthenticated')
  }
  for (const token of ['a', 'haus_op_', `haus_op_${'A'.repeat(43)}`, 'haus_mt_x', 'a.b.c']) {
    await refused(ask(house, `Bearer ${token}`), 'token_invalid')
  }
  const token = operatorToken(house)
  await refused(ask(house, `Bearer ${token}A`), 'token_invalid')
  await refused(ask(house, `Bearer ${token.toUpperCase()}`), 'token_invalid')
  await refused(ask(house, `Bearer ${'A'.repeat(5_000)}`), 'token_invalid')
  assert.equal((await ask(house, `bEaReR   ${token}`)).kind, 'operator')
})

test('the scrape token is written, mended and can only scrape', async () => {
  await using house = await openTestIdentity(anyKind)
  const file = path.join(house.database.location.dataDir, 'metrics.token')
  const token = fs.readFileSync(file, 'utf8').trim()
  assert.match(token, /^haus_mt_[A-Za-z0-9_-]{43}$/)
  assert.equal((await callerOf(house, token)).kind, 'scraper')
  fs.writeFileSync(file, 'somebody else’s')
  await house.identity.start()
  assert.equal(fs.readFileSync(file, 'utf8').trim(), token)
  fs.chmodSync(file, 0o640)
  await house.identity.start()
  assert.equal(fs.statSync(file).mode & 0o777, 0o640, 'a Prometheus that was let in stays in')
})

test('a lost or foreign operator token is said once at each start, with the mend', async () => {
  await using house = await openTestIdentity(anyKind)
  const file = path.join(house.database.location.dataDir, 'operator.token')
  const warnings = () => house.records.splice(0).filter((record) => record.level === 'warn')
  await house.identity.start()
  assert.deepEqual(warnings(), [])
  for (const spoil of [
    () => fs.rmSync(file),
    () => fs.writeFileSync(file, ''),
    () => fs.writeFileSync(file, `haus_op_${'A'.repeat(43)}\n`),
  ]) {
    spoil()
    await house.identity.start()
    const warned = warnings()
    assert.equal(warned.length, 1)
    assert.match(warned[0]?.msg ?? '', /npm start -- --renew-operator-token/)
    assert.equal(warned[0]?.['file'], file)
  }
  await house.identity.renewOperatorToken()
  fs.chmodSync(file, 0o644)
  await house.identity.start()
  assert.match(warnings()[0]?.msg ?? '', /read by other users/)
  assert.equal(fs.statSync(file).mode & 0o777, 0o600)
})

test('a crash in the middle of a renewal is finished or undone by the next start', async () => {
  await using house = await openTestIdentity(anyKind)
  const { dataDir } = house.database.location
  const [file, next] = ['operator.token', 'operator.token.new'].map((n) => path.join(dataDir, n))
  assert.ok(file && next)
  const old = operatorToken(house)
  fs.writeFileSync(next, `haus_op_${'A'.repeat(43)}\n`)
  await house.identity.start()
  assert.equal(operatorToken(house), old, 'before its commit the old one holds')
  assert.ok(!fs.existsSync(next))

  await house.identity.renewOperatorToken()
  fs.renameSync(file, next)
  fs.writeFileSync(file, `${old}\n`)
  await house.identity.start()
  assert.equal((await callerOf(house, operatorToken(house))).kind, 'operator')
  assert.ok(!fs.existsSync(next))
})

/** Moves the clock until it is settled. */
async function patiently<T>(house: TestIdentity, running: Promise<T>): Promise<T> {
  let settled = false
  const settle = (): void => void (settled = true)
  running.then(settle, settle)
  await until('it has given up or succeeded', () => {
    house.clock.advance(500)
    return settled
  })
  return running
}

test('a renewal on a slow disk succeeds in the end, and is never written twice', async () => {
  await using house = await openTestIdentity(anyKind)
  const { append } = house.ledger
  let tries = 0
  house.ledger.append = async (entry) => {
    tries += 1
    if (tries < 3) throw new HausError('writes_unavailable', 'Not written.')
    // Written after all, as a commit is whose answer comes too late.
    await append(entry)
    throw new HausError('write_outcome_unknown', 'Perhaps.')
  }
  await patiently(house, house.identity.renewOperatorToken())
  assert.equal(tries, 3)
  house.ledger.append = append
  assert.equal((await callerOf(house, operatorToken(house))).kind, 'operator')
  assert.equal((await audits(house, 'renewOperatorToken')).length, 1)
})

test('a renewal that is not written leaves the old token in force and nothing behind', async () => {
  await using house = await openTestIdentity(anyKind)
  const { dataDir } = house.database.location
  const old = operatorToken(house)
  const { append } = house.ledger
  house.ledger.append = () => Promise.reject(new HausError('writes_unavailable', 'Not written.'))
  await assert.rejects(patiently(house, house.identity.renewOperatorToken()), {
    code: 'database_unreachable',
    message: /was not renewed and the old one still holds.*start Haus once more with --renew/,
  })
  assert.ok(!fs.existsSync(path.join(dataDir, 'operator.token.new')))
  house.ledger.append = () => Promise.reject(new HausError('write_outcome_unknown', 'Perhaps.'))
  await assert.rejects(patiently(house, house.identity.renewOperatorToken()), {
    code: 'database_unreachable',
    message: /has not said within 20 s .*start Haus once more without --renew-operator-token/,
  })
  assert.ok(fs.existsSync(path.join(dataDir, 'operator.token.new')), 'the next start looks')
  house.ledger.append = append
  await house.identity.start()
  assert.equal(operatorToken(house), old)
  assert.equal((await callerOf(house, old)).kind, 'operator')
})

test('a house whose operator token was taken out says so, and gets a new one by renewal', async () => {
  await using house = await openTestIdentity(anyKind)
  await house.database.pool.query('delete from haus.operator_token')
  await house.view.load(house.database.db)
  await refused(callerOf(house, operatorToken(house)), 'token_invalid')
  await house.identity.start()
  assert.ok(house.records.some(({ level, msg }) => level === 'error' && /no operator/.test(msg)))
  await house.identity.renewOperatorToken()
  assert.equal((await callerOf(house, operatorToken(house))).kind, 'operator')
})

test('a verified token costs no second verification, and a revoked or expired one none either', async () => {
  await using house = await openTestIdentity(anyKind)
  const token = await tokenOf(house, await makeKey(house))
  const first = house.identity.authenticate(`Bearer ${token}`, source)
  assert.ok(first instanceof Promise)
  const caller = await first
  assert.equal(house.identity.authenticate(`Bearer ${token}`, source), caller)
  house.clock.advance(905_000)
  assert.throws(() => house.identity.authenticate(`Bearer ${token}`, source), {
    code: 'token_expired',
  })
})

test('a token has no more places in memory than spellings that clients use', async () => {
  await using house = await openTestIdentity(anyKind)
  const token = await tokenOf(house, await makeKey(house))
  for (const scheme of ['Bearer ', 'bearer ', 'Bearer  ', 'Bearer   ', 'BEARER ', 'bEARER ']) {
    const { service } = await ask(house, `${scheme}${token}`)
    assert.equal(service, 'orders', scheme)
  }
  assert.equal(house.identity.status().tokensCached, 2)
})

test('past exp a token is taken for the leeway of 5 s, by who knows it and who sees it first, and by nobody after', async () => {
  await using house = await openTestIdentity(anyKind)
  const key = await makeKey(house)
  const known = await tokenOf(house, key)
  const fresh = await tokenOf(house, key)
  const late = await tokenOf(house, key)
  await callerOf(house, known)
  house.clock.advance(904_000)
  await callerOf(house, known)
  await callerOf(house, fresh)
  await callerOf(house, fresh)
  house.clock.advance(999)
  await callerOf(house, known)
  await callerOf(house, fresh)
  house.clock.advance(1)
  for (const token of [known, fresh, late]) await refused(callerOf(house, token), 'token_expired')
})

test('a token that the house signed for a key it does not have, or of another service, is refused', async () => {
  await using house = await openTestIdentity(anyKind)
  const { clientId } = await makeKey(house)
  const tokens = await createAccessTokens({
    houseId: house.house.houseId,
    seed: house.view.keys.tokenSeed,
    clock: house.clock,
    random: systemRandom,
  })
  const sign = (id: string, service: string) =>
    tokens.sign({ clientId: id, service, audience: 'haus' })
  assert.equal((await callerOf(house, await sign(clientId, 'orders'))).service, 'orders')
  await refused(callerOf(house, await sign(clientId, 'billing')), 'token_revoked')
  await refused(callerOf(house, await sign(systemRandom.id(), 'orders')), 'token_revoked')
})

test('a wall clock that jumps back prolongs no token, and one that jumps forward ends none', async () => {
  await using house = await openTestIdentity(anyKind)
  const key = await makeKey(house)
  const token = await tokenOf(house, key)
  await callerOf(house, token)
  const { clock } = house

  clock.setWall('2026-11-23T13:00:00.000Z')
  await callerOf(house, token)
  clock.setWall('2026-11-23T11:00:00.000Z')
  await callerOf(house, token)
  clock.advance(905_000)
  await refused(callerOf(house, token), 'token_expired')
  await refused(callerOf(house, token), 'token_expired')

  const fromTheFuture = await tokenOf(house, key)
  clock.setWall('2026-11-23T10:00:00.000Z')
  await callerOf(house, fromTheFuture)
  clock.advance(905_000)
  await refused(callerOf(house, fromTheFuture), 'token_expired')
})

test('an unknown client and a wrong secret get the same answer, and are audited without the id of a stranger', async () => {
  await using house = await openTestIdentity(anyKind)
  const key = await makeKey(house)
  const other = await makeKey(house)
  const wrong = await refused(tokenOf(house, key, { secret: 'hsk_wrong' }), 'invalid_client')
  const swapped = tokenOf(house, key, { secret: other.clientSecret.reveal() })
  assert.equal((await refused(swapped, 'invalid_client')).message, wrong.message)
  const unknown = tokenOf(house, { ...key, clientId: '\ud800 <script>' })
  assert.equal((await refused(unknown, 'invalid_client')).message, wrong.message)
  const denied = { actor: 'operator', outcome: 'denied', code: 'invalid_client', source }
  const target = `services/orders/keys/${key.clientId}`
  assert.deepEqual(await audits(house, 'issueToken'), [
    { ...denied, target },
    { ...denied, target },
    { ...denied, target: 'keys/unknown' },
  ])
})

test('nobody can lock a client out: the right secret is taken whatever others tried', async () => {
  await using house = await openTestIdentity(anyKind)
  const key = await makeKey(house)
  const codes: ErrorCode[] = []
  let retryAfter: number | undefined
  for (let n = 0; n < 40; n += 1) {
    const error = await tokenOf(house, key, { secret: `hsk_${n}` }).catch((e: unknown) => e)
    assert.ok(error instanceof HausError)
    codes.push(error.code)
    retryAfter = error.retryAfterSeconds
  }
  assert.deepEqual(
    codes.slice(0, 10),
    Array.from({ length: 10 }, () => 'invalid_client'),
  )
  assert.deepEqual(
    codes.slice(10),
    Array.from({ length: 30 }, () => 'rate_limited'),
  )
  assert.ok(retryAfter !== undefined && retryAfter > 0 && retryAfter <= 5)
  assert.equal((await audits(house, 'issueToken')).length, 10, 'a stranger cannot fill the audit')
  assert.equal(house.identity.status().clientsRefused, 40)
  await tokenOf(house, key)
  await refused(tokenOf(house, key, { secret: 'hsk_x', from: '192.0.2.2' }), 'invalid_client')
})

test('wrong secrets for many clients from one address are limited together', async () => {
  await using house = await openTestIdentity(anyKind)
  const key = await makeKey(house)
  const results = await Promise.all(
    Array.from({ length: 80 }, (_, n) =>
      tokenOf(
        house,
        { ...key, clientId: `client-${n}` },
        { from: `2001:db8:0:1::${n.toString(16)}` },
      ).catch((error: unknown) => (error instanceof HausError ? error.code : error)),
    ),
  )
  assert.equal(results.filter((code) => code === 'invalid_client').length, 50)
  assert.equal(results.filter((code) => code === 'rate_limited').length, 30)
})

test('a right client that asks in a loop is slowed down, alone, and goes on', async () => {
  await using house = await openTestIdentity(anyKind)
  const key = await makeKey(house)
  const other = await makeKey(house)
  for (let n = 0; n < 60; n += 1) await tokenOf(house, key)
  const error = await refused(tokenOf(house, key), 'rate_limited')
  assert.equal(error.retryAfterSeconds, 1)
  await tokenOf(house, other)
  house.clock.advance(1_000)
  await tokenOf(house, key)
})

test('wrong bearer tokens are limited per address, right ones never', async () => {
  await using house = await openTestIdentity(anyKind)
  const token = await tokenOf(house, await makeKey(house))
  const codes = new Map<string, number>()
  for (let n = 0; n < 300; n += 1) {
    const error = await ask(house, `Bearer haus_op_${n}`).catch((reason: unknown) => reason)
    assert.ok(error instanceof HausError)
    codes.set(error.code, (codes.get(error.code) ?? 0) + 1)
  }
  assert.deepEqual(Object.fromEntries(codes), { token_invalid: 100, rate_limited: 200 })
  assert.equal((await callerOf(house, token)).service, 'orders')
  await refused(ask(house, 'Bearer haus_op_x', '192.0.2.2'), 'token_invalid')
  assert.deepEqual(
    house.records.filter((record) => record.level !== 'debug'),
    [],
    'a stranger cannot fill the log',
  )
})

test('tokens are given while the database is away, and counted as not audited', async () => {
  await using house = await openTestIdentity('embedded')
  const key = await makeKey(house)
  const away = new HausError('writes_unavailable', 'Nothing was written.')
  const { append } = house.ledger
  house.ledger.append = () => Promise.reject(away)
  try {
    assert.equal((await callerOf(house, await tokenOf(house, key))).service, 'orders')
    await refused(tokenOf(house, key, { secret: 'hsk_wrong' }), 'invalid_client')
    await refused(makeKey(house), 'writes_unavailable')
  } finally {
    house.ledger.append = append
  }
  assert.equal(house.identity.status().unaudited, 2)
})

test('a revocation holds although the database goes away before its row can be read again', async () => {
  await using house = await openTestIdentity(anyKind)
  const key = await makeKey(house)
  const token = await tokenOf(house, key)
  await house.ledger.stop(1_000)
  await house.database.close()
  const { clientId } = key
  const event = { index: 1, time: '', subject: '', service: null }
  const revoked = { ...event, type: 'haus.key.revoked', data: { clientId } }
  await assert.rejects(async () => house.view.apply([revoked]))
  await refused(callerOf(house, token), 'token_revoked')
  const changed = { ...event, type: 'haus.operator.changed', data: { tokenId: clientId } }
  await assert.rejects(async () => house.view.apply([changed]))
  await refused(callerOf(house, operatorToken(house)), 'token_invalid')
})

test('reserved names get no key', async () => {
  await using house = await openTestIdentity(anyKind)
  const error = await refused(makeKey(house, 'gateway'), 'invalid_request')
  assert.equal(error.fields[0]?.field, 'path.name')
})

test('no secret is in the database, the log or an event', async () => {
  await using house = await openTestIdentity(anyKind)
  const key = await makeKey(house)
  const token = await tokenOf(house, key)
  await tokenOf(house, key, { secret: 'hsk_canary-wrong' }).catch(() => {})
  await house.identity.renewOperatorToken()
  const { dataDir } = house.database.location
  const secrets = [
    key.clientSecret.reveal(),
    token,
    'hsk_canary-wrong',
    operatorToken(house),
    fs.readFileSync(path.join(dataDir, 'root.key'), 'utf8').trim(),
    house.house.rootKey.reveal().toString('base64'),
  ]
  const dump = [JSON.stringify(house.records)]
  for (const table of ['house', 'operator_token', 'service_key', 'ledger_event', 'audit']) {
    const { rows } = await house.database.pool.query(`select t::text as row from haus.${table} t`)
    dump.push(JSON.stringify(rows))
  }
  for (const secret of secrets) {
    for (const form of [secret, Buffer.from(secret).toString('hex')]) {
      assert.ok(!dump.join('\n').includes(form))
    }
  }
})

test(
  'a key that one replica makes or ends is known to the other',
  needsDatabase('postgres'),
  async () => {
    await using house = await openTestIdentity('postgres')
    const { log } = recordLog()
    const { url = '', dataDir } = house.database.location
    const database = await openDatabase<Tables>({
      url,
      dataDir,
      log: silentLog,
      onFatal: assert.fail,
    })
    const view = createIdentityView({ house: house.house, db: database.db, log })
    const ledger = createLedger<Tables>({ database, projections: [view], clock: systemClock, log })
    try {
      await ledger.start()
      const { clientId } = await makeKey(house)
      const remote = await until('the new key', () => view.key(clientId))
      assert.ok(remote.principal.live)
      const { revoked } = remote.principal
      await house.identity.revokeServiceKey('orders', clientId, contextOf('revokeServiceKey'))
      await until('the end of the key', () => revoked.aborted)
      // The end comes from the event itself, before the row is read again.
      await until('the row of the ended key', () => view.key(clientId)?.row.revokedAt)
      await house.identity.renewOperatorToken()
      await until('the new operator token', () => view.operatorTokens === 1)
    } finally {
      await ledger.stop(1_000)
      await database.close()
    }
  },
)
