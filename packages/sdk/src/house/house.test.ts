import assert from 'node:assert/strict'
import { chmodSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { clientSecret, openSetting, type Setting } from '../testing/joining.ts'
import { answerOf, granted } from '../testing/scripted-house.ts'
import { problem } from '../testing/scripted-server.ts'
import { until } from '../testing/until.ts'

const streaming = (setting: Setting) => until('the feed', () => setting.house.streams.size > 0)

/** The feed is there, and the heartbeat that it causes has been answered. */
async function settle(setting: Setting): Promise<void> {
  await streaming(setting)
  await until('the first heartbeat', () => setting.house.heartbeats.length > 0)
}

test('a heartbeat says what is in use, at each interval of the house', async () => {
  await using setting = await openSetting()
  const { house, clock } = setting
  house.credentials = { database: granted(3) }
  house.config = { version: 7, data: { pageSize: 5 } }
  await setting.join({ load: () => 4, status: () => 'degraded' })
  await settle(setting)
  const [first] = house.heartbeats
  assert.deepEqual(first, {
    incarnation: 1,
    adopted: { database: 3 },
    configVersion: 7,
    load: 1,
    status: 'degraded',
  })
  await until('the timer of the next', () => clock.dueInMs.includes(10_000))
  const sent = house.heartbeats.length
  clock.advance(9_999)
  assert.ok(clock.dueInMs.includes(1), 'not a moment before')
  clock.advance(1)
  await until('the next heartbeat', () => house.heartbeats.length === sent + 1)
})

test('a house that does not know the instance gets a new registration', async () => {
  await using setting = await openSetting()
  const { house } = setting
  const joined = await setting.join()
  await settle(setting)
  house.instances.clear()
  house.emit('haus.config.changed', 'services/orders')
  house.config = { version: 1, data: {} }
  await setting.passing('the registration', () => {
    setting.clock.advance(1_000)
    return house.instances.has('i-own')
  })
  await until('the state', () => joined.state === 'registered')
})

test('a newer start silences this one, and it neither registers nor deregisters', async () => {
  await using setting = await openSetting()
  const { house } = setting
  const joined = await setting.join()
  await settle(setting)
  const states: string[] = []
  joined.on('state', ({ state }) => states.push(state))
  house.instances.set('i-own', { incarnation: 2, draining: false })
  await until('the silence', () => {
    setting.clock.advance(1_000)
    return joined.state === 'superseded'
  })
  await joined.leave()
  assert.deepEqual(states, ['superseded', 'left'])
  assert.equal(house.server.count('POST', '/api/services/register'), 1)
  assert.deepEqual(house.instances.get('i-own'), { incarnation: 2, draining: false })
})

test('a newer start that may be an unanswered try of its own is not given way to', async () => {
  await using setting = await openSetting()
  const { house } = setting
  let lost = 0
  house.refuse.set('registerInstance', (response) => {
    if (++lost > 1) return false
    response.destroy()
  })
  const joining = setting.join()
  void joining.catch(() => {})
  let joined: Awaited<typeof joining> | undefined
  void joining.then((made) => (joined = made))
  const made = await setting.passing('the registration', () => joined)
  await settle(setting)
  // The lost one arrives late.
  house.instances.set('i-own', { incarnation: 2, draining: false })
  await until('the next registration', () => {
    setting.clock.advance(1_000)
    return house.instances.get('i-own')?.incarnation === 3
  })
  await until('the state', () => made.state === 'registered')
})

test('without a house and without a cache it waits, says so, and gives up in time', async () => {
  await using setting = await openSetting()
  await setting.house.away()
  let failed: unknown
  setting.join({ startTimeoutMs: 25_000 }).catch((error: unknown) => (failed = error))
  await setting.passing('the end of the patience', () => failed)
  assert.match(
    String(failed),
    /could not be joined within 25 s, and there is no cache to start from: Haus at 127/,
  )
  const waiting = setting.log.filter((line) => line.startsWith('warn Waiting for the house'))
  assert.equal(waiting.length, 3)
  assert.equal(setting.clock.pending, 0)
})

test('a refusal that a person must mend ends the start at once, with a cache or without', async () => {
  await using setting = await openSetting()
  await (await setting.join()).leave()
  assert.ok(existsSync(setting.cacheFile))
  for (const code of ['credential_not_granted', 'advertise_refused', 'limit_reached']) {
    setting.house.refuse.set('registerInstance', (response) => problem(response, 403, code))
    await assert.rejects(setting.join(), { name: 'HausApiError', code })
  }
  setting.house.refuse.delete('registerInstance')
  setting.house.refuse.set('issueToken', (response) => {
    response
      .writeHead(401, { 'content-type': 'application/json' })
      .end('{"error":"invalid_client"}')
  })
  await assert.rejects(setting.join(), { name: 'HausApiError', code: 'invalid_client' })
  assert.equal(setting.clock.pending, 0)
  assert.equal(setting.signalHandlers, 0)
})

test('what is not set is named, and a secret that others can read is refused', async () => {
  await using setting = await openSetting()
  for (const name of ['HAUS_URL', 'HAUS_CLIENT_ID', 'HAUS_CLIENT_SECRET_FILE']) {
    const value = setting.env[name]
    setting.env[name] = undefined
    await assert.rejects(setting.join(), new RegExp(`^SettingsError: ${name} is not set: it is `))
    setting.env[name] = value
  }
  chmodSync(setting.env['HAUS_CLIENT_SECRET_FILE'] ?? '', 0o644)
  await assert.rejects(
    setting.join(),
    /can be read by others \(mode 0644\): make it its owner's alone/,
  )
  assert.equal(setting.house.server.asked.length, 0)
})

test('while the house is away it starts from the cache, and registers when it is back', async () => {
  await using setting = await openSetting()
  const { house, clock } = setting
  house.credentials = { database: granted(3) }
  house.config = { version: 7, data: { pageSize: 5 } }
  house.services.set('billing', answerOf('billing', [4001, 4002]))
  const first = await setting.join({ dependencies: ['billing'] })
  await first.leave()
  assert.equal(statSync(setting.cacheFile).mode & 0o777, 0o600)
  assert.ok(!readFileSync(setting.cacheFile).includes('value-3'))
  await house.away()

  const second = await setting.join({ dependencies: ['billing'] })
  assert.equal(second.state, 'joining')
  assert.equal(second.reachable, false)
  assert.equal(second.credential('database').reveal()['password'], 'value-3')
  assert.deepEqual(second.config, { pageSize: 5 })
  const { instances, ageMs } = await second.discover('billing')
  assert.equal(instances.length, 2)
  assert.ok(ageMs >= 30_000)
  using picked = await second.pick('billing')
  assert.match(picked.url ?? '', /:400[12]$/)
  const token = await house.sign('billing', { audience: 'haus-gateway' })
  assert.equal((await second.verifyToken(token)).service, 'billing')
  await assert.rejects(second.tokenFor('haus-gateway'), { name: 'HausUnreachableError' })

  house.credentials = { database: granted(4) }
  house.services.set('billing', answerOf('billing', [4003], 2))
  await house.back()
  const backAtMs = clock.monotonicMs()
  await setting.passing('the registration', () => second.state === 'registered')
  await setting.passing('the new version', () => second.credential('database').version === 4)
  await setting.passing('the new instance', async () => {
    const found = await second.discover('billing')
    return found.instances[0]?.port === 4003
  })
  assert.ok(clock.monotonicMs() - backAtMs <= 2_000)
})

test('a cache that is damaged, foreign, old or of another format is ignored with a warning', async () => {
  await using setting = await openSetting()
  const { house, clock } = setting
  house.credentials = { database: granted(3) }
  await (await setting.join()).leave()
  const whole = readFileSync(setting.cacheFile)
  await house.away()
  const refused = async (why: RegExp, options: Parameters<Setting['join']>[0] = {}) => {
    setting.log.length = 0
    await assert.rejects(setting.join({ startTimeoutMs: 0, ...options }), /there is no cache/)
    assert.match(setting.log.join('\n'), why)
  }
  for (const at of [0, 9, 45, 60, whole.length - 1]) {
    const bent = Buffer.from(whole)
    bent.writeUInt8(bent.readUInt8(at) ^ 1, at)
    writeFileSync(setting.cacheFile, bent)
    await refused(at === 0 ? /not in the format of this version/ : /damaged, or of another/)
  }
  for (const size of [0, 20, whole.length - 1]) {
    writeFileSync(setting.cacheFile, whole.subarray(0, size))
    await refused(/not in the format|damaged/)
  }
  writeFileSync(setting.cacheFile, Buffer.alloc(9 * 1024 * 1024))
  await refused(/larger than/)
  writeFileSync(setting.cacheFile, whole)
  await refused(/damaged, or of another/, { clientId: 'other' })
  await refused(/damaged, or of another/, { name: 'billing', cacheFile: setting.cacheFile })
  await refused(/lacks the credential \\"mail\\"/, { credentialsNeeded: ['mail'] })
  clock.advance(7 * 24 * 3_600_000 + 1)
  await refused(/older than 7 days/)
  rmSync(setting.cacheFile)
  await refused(/^$/)
})

test('a cache that cannot be written is said once, and hinders nothing', async () => {
  await using setting = await openSetting()
  const joined = await setting.join({ cacheFile: path.join(setting.folder, 'secret', 'cache') })
  await setting.passing('the complaint', () =>
    setting.log.some((line) => line.startsWith('warn The cache cannot be written')),
  )
  assert.equal(joined.state, 'registered')
})

test('both versions are at hand until every handler has promised the new one', async () => {
  await using setting = await openSetting()
  const { house } = setting
  house.credentials = { database: granted(1) }
  const joined = await setting.join()
  await settle(setting)
  const gate = Promise.withResolvers<void>()
  const seen: unknown[] = []
  joined.on('credentials', async ({ name, current, previous }) => {
    seen.push([name, previous?.reveal()['password'], current?.reveal()['password']])
    await gate.promise
  })
  house.credentials = { database: granted(2) }
  house.emit('haus.credential.changed', 'credentials/database', { name: 'database' })
  await until('the handler', () => seen.length === 1)
  assert.equal(joined.credential('database').version, 1)
  const before = house.heartbeats.length
  gate.resolve()
  await until('the adoption', () => joined.credential('database').version === 2)
  await until('the heartbeat that tells it', () => house.heartbeats.length > before)
  assert.deepEqual(house.heartbeats.at(-1)?.['adopted'], { database: 2 })
  assert.deepEqual(seen, [['database', 'value-1', 'value-2']])
})

test('a handler that fails keeps the old version in use, and is asked again', async () => {
  await using setting = await openSetting()
  const { house, clock } = setting
  house.credentials = { database: granted(1) }
  const joined = await setting.join()
  await settle(setting)
  let calls = 0
  joined.on('credentials', ({ current }) => {
    calls += 1
    if (calls === 1) throw new Error(`cannot connect with ${current?.reveal()['password']}`)
  })
  house.credentials = { database: granted(2, 'canary-value') }
  house.emit('haus.credential.changed', 'credentials/database', { name: 'database' })
  await until('the failure', () => setting.log.some((line) => line.includes('A handler failed')))
  assert.equal(joined.credential('database').version, 1)
  await until('another try', () => {
    clock.advance(1_000)
    return joined.credential('database').version === 2
  })
  assert.ok(!setting.log.join('\n').includes('canary'))
})

test('versions that come while a handler works are adopted in one step, the newest', async () => {
  await using setting = await openSetting()
  const { house } = setting
  house.credentials = { database: granted(1) }
  const joined = await setting.join()
  await settle(setting)
  const gate = Promise.withResolvers<void>()
  const seen: unknown[] = []
  joined.on('credentials', async ({ current }) => {
    seen.push(current?.version)
    await gate.promise
  })
  for (const version of [2, 3, 4]) {
    house.credentials = { database: granted(version) }
    const reads = (): number => house.server.count('GET', '/api/credentials/service/orders')
    const before = reads()
    house.emit('haus.credential.changed', 'credentials/database', { name: 'database' })
    await until('the read', () => reads() > before)
    if (version === 2) await until('the first', () => seen.length === 1)
    // Asked after it and answered after it: by then the answer of the read has come.
    else await joined.client.call('getJwks')
  }
  gate.resolve()
  await until('the newest', () => joined.credential('database').version === 4)
  assert.deepEqual(seen, [2, 4])
})

test('a credential that is no longer granted goes, when the handlers have let go of it', async () => {
  await using setting = await openSetting()
  const { house } = setting
  house.credentials = { database: granted(1), mail: granted(1) }
  const joined = await setting.join()
  await settle(setting)
  const gone: unknown[] = []
  joined.on('credentials', ({ name, current }) => gone.push([name, current]))
  house.credentials = { mail: granted(1) }
  house.emit('haus.credential.deleted', 'credentials/database', { name: 'database' })
  await until('it to go', () => !joined.credentialNames.includes('database'))
  assert.deepEqual(gone, [['database', null]])
  assert.throws(() => joined.credential('database'), /not granted to "orders"\. Granted: mail\./)
})

test('only what it needs is taken, and other credentials are not asked for', async () => {
  await using setting = await openSetting()
  const { house } = setting
  house.credentials = { database: granted(1), mail: granted(1) }
  const joined = await setting.join({ credentialsNeeded: ['database'] })
  await settle(setting)
  assert.deepEqual(joined.credentialNames, ['database'])
  house.emit('haus.credential.changed', 'credentials/mail', { name: 'mail' })
  house.config = { version: 1, data: { on: true } }
  house.emit('haus.config.changed', 'services/orders')
  await until('the configuration', () => joined.configVersion === 1)
  assert.equal(house.server.count('GET', '/api/credentials/service/orders'), 0)
})

test('a configuration that the program refuses is not used, and not asked for again and again', async () => {
  await using setting = await openSetting()
  const { house, clock } = setting
  house.config = { version: 1, data: { pageSize: 5 } }
  const parseConfig = (data: Readonly<Record<string, unknown>>) => {
    if (typeof data['pageSize'] !== 'number') throw new Error('pageSize must be a number')
    return data
  }
  const joined = await setting.join({ parseConfig })
  await settle(setting)
  const seen: unknown[] = []
  joined.on('config', ({ version, previous }) => seen.push([version, previous]))
  house.config = { version: 2, data: { pageSize: 'many' } }
  house.emit('haus.config.changed', 'services/orders')
  await until('the refusal', () => setting.log.some((line) => line.includes('pageSize must be')))
  assert.deepEqual(joined.config, { pageSize: 5 })
  const reads = house.server.count('GET', '/api/services/orders/config')
  const beats = house.heartbeats.length
  await until('two heartbeats', () => {
    clock.advance(1_000)
    return house.heartbeats.length >= beats + 2
  })
  assert.equal(house.heartbeats.at(-1)?.['configVersion'], 1)
  assert.equal(house.server.count('GET', '/api/services/orders/config'), reads)
  house.config = { version: 3, data: { pageSize: 9 } }
  house.emit('haus.config.changed', 'services/orders')
  await until('the mended one', () => joined.configVersion === 3)
  assert.deepEqual(seen, [[3, { pageSize: 5 }]])

  // The next start meets a configuration that is refused, and goes on with the last good one.
  await joined.leave()
  house.config = { version: 4, data: {} }
  const next = await setting.join({ parseConfig })
  assert.deepEqual(next.config, { pageSize: 9 })
  rmSync(setting.cacheFile, { force: true })
  await assert.rejects(
    setting.join({ parseConfig, cacheFile: false }),
    /^SettingsError: The program refuses version 4 of its configuration: pageSize must be a number$/,
  )
})

test('what it depends on is followed: a change is known without asking', async () => {
  await using setting = await openSetting()
  const { house } = setting
  house.services.set('billing', answerOf('billing', [4001]))
  const joined = await setting.join({ dependencies: ['billing', 'mail'] })
  await settle(setting)
  await assert.rejects(joined.discover('mail'), { code: 'service_not_found' })
  house.services.set('billing', answerOf('billing', [4001, 4002], 2))
  house.emit('haus.instance.registered', 'services/billing')
  house.services.set('mail', answerOf('mail', [4003], 3))
  house.emit('haus.instance.registered', 'services/mail')
  await until(
    'the second instance',
    async () => (await joined.discover('billing')).instances.length === 2,
  )
  await until('the other service', () =>
    house.server.asked.some(({ path: p }) => p.endsWith('service=mail')),
  )
  await house.away()
  assert.equal((await joined.discover('mail')).instances.length, 1)
})

test('the house is told of the draining, then the work is finished, then it is left', async () => {
  await using setting = await openSetting()
  const { house, clock } = setting
  const gate = Promise.withResolvers<void>()
  const joined = await setting.join({ drain: () => gate.promise, exit: true })
  await settle(setting)
  assert.equal((await joined.health.ready()).status, 'ready')
  setting.signal()
  setting.signal()
  await until('the draining', () => house.instances.get('i-own')?.draining)
  assert.equal((await joined.health.ready()).status, 'draining')
  await until('the pause for callers that have not heard of it', () => clock.dueInMs.includes(250))
  clock.advance(250)
  assert.equal(joined.state, 'registered')
  assert.deepEqual(setting.exits, [])
  gate.resolve()
  await until('the exit', () => setting.exits.length === 1)
  assert.deepEqual(setting.exits, [0])
  assert.equal(joined.state, 'left')
  assert.equal(house.instances.size, 0)
  assert.equal(clock.pending, 0)
  assert.equal(setting.signalHandlers, 0)
  assert.equal(
    house.server.count('DELETE', '/api/services/orders/instances/i-own?incarnation=1'),
    1,
  )
})

test('draining is bounded, and nothing ends the process that was not asked to', async () => {
  await using setting = await openSetting()
  const joined = await setting.join({ drain: () => new Promise(() => {}), drainTimeoutMs: 900 })
  await settle(setting)
  setting.signal()
  await setting.passing('the end', () => joined.state === 'left')
  await joined.leave()
  assert.ok(setting.log.some((line) => line.includes('Not everything was finished in time')))
  assert.deepEqual(setting.exits, [])
})

test('a house that is away does not hold up a goodbye, and nobody has to answer for signals', async () => {
  await using setting = await openSetting()
  const joined = await setting.join({ signals: false })
  await settle(setting)
  assert.equal(setting.signalHandlers, 0)
  await setting.house.away()
  await joined.leave()
  assert.equal(setting.clock.pending, 0)
})

test('nothing of it shows a secret: not printed, not as JSON, not in what it logs', async () => {
  await using setting = await openSetting()
  const { house } = setting
  house.credentials = { database: granted(1, 'canary-value') }
  const joined = await setting.join()
  await settle(setting)
  const token = await joined.tokenFor('haus-gateway')
  const credential = joined.credential('database')
  const shown = [
    inspect(joined, { depth: 20, showHidden: true, getters: true }),
    JSON.stringify(joined),
    inspect(credential, { depth: 20, showHidden: true }),
    JSON.stringify({ credential, token }),
    String(token),
    setting.log.join('\n'),
  ].join('\n')
  assert.ok(!shown.includes('canary'), shown)
  assert.ok(!shown.includes(token.reveal()))
  assert.ok(!shown.includes(clientSecret))
})

test('tokens of others are told by signature, issuer, audience and time, also while it is away', async () => {
  await using setting = await openSetting()
  const { house, clock } = setting
  const joined = await setting.join()
  await until('the keys', () => house.server.count('GET', '/.well-known/jwks.json') > 0)
  const audience = 'haus-gateway'
  const good = await house.sign('billing', { audience })
  await until('the keys to arrive', () =>
    joined.verifyToken(good).then(
      () => true,
      () => false,
    ),
  )
  await house.away()
  assert.deepEqual(await joined.verifyToken(good), {
    service: 'billing',
    clientId: 'k',
    expiresAt: new Date('2026-11-23T12:15:00.000Z'),
  })
  const bad = [
    [await house.sign('billing'), 'token_wrong_audience'],
    [await house.sign('billing', { audience, issuer: 'urn:haus:other' }), 'token_invalid'],
    [good.replace(/\.[^.]+$/, '.AAAA'), 'token_invalid'],
    [
      `${Buffer.from('{"alg":"none"}').toString('base64url')}.${good.split('.')[1]}.`,
      'token_invalid',
    ],
    ['', 'token_invalid'],
    ['x'.repeat(5_000), 'token_invalid'],
  ] as const
  for (const [token, code] of bad) await assert.rejects(joined.verifyToken(token), { code }, token)
  clock.advance(906_000)
  await assert.rejects(joined.verifyToken(good), { code: 'token_expired' })
})
