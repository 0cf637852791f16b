/**
 * The gateway connects to what is registered, so a registered address is a request that somebody
 * makes the house send. It never goes to cloud metadata, to the house itself, or to where a name
 * leads only the second time it is asked.
 */
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { until } from '../../../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { assertRefusal, get, register } from '../front-door.ts'
import { exchange } from '../raw-client.ts'
import { answerWith, RawUpstream } from '../raw-upstream.ts'
import type { OwnNames } from '../own-names.ts'
import type { FrontDoor } from '../front-door.ts'

export function forgedUpstreams(door: FrontDoor, { lead }: OwnNames): void {
  const { port, token, house } = door
  const auth = `Haus-Token: ${token}\r\nConnection: close\r\n`
  const apiPort = Number(new URL(house.url).port)

  for (const address of [
    '169.254.169.254',
    '169.254.1.1',
    '100.100.100.200',
    'fd00:ec2::254',
    '::ffff:169.254.169.254',
    '64:ff9b::a9fe:a9fe',
    '0.0.0.0',
    '0x7f.1',
    '2130706433',
    'metadata.google.internal',
  ]) {
    test(`${address} cannot be registered, not even by the operator, and so is no upstream`, async () => {
      const answer = await house.operator.post('/api/services/register', {
        name: 'metadata',
        version: '1.0.0',
        address,
        port: 80,
      })
      assert.ok([400, 403].includes(answer.status), answer.text)
      assertRefusal(await exchange(port, get('/metadata/latest/meta-data', auth)), 404)
    })
  }

  test('the house’s own ports are no upstream, neither by address nor by name', async () => {
    lead({ 'inside.example': '127.0.0.1' })
    for (const own of [apiPort, port]) {
      const answer = await house.operator.post('/api/services/register', {
        name: 'inside',
        version: '1.0.0',
        address: '127.0.0.1',
        port: own,
      })
      assert.equal(answer.status, 403, answer.text)
    }
    await register(house, 'inside', apiPort, { address: 'inside.example' })
    await register(house, 'inside', port, { address: 'inside.example' })
    await until('the gateway knows the service', async () => {
      return (await exchange(port, get('/inside/health', auth))).status !== 404
    })
    for (let count = 0; count < 10; count += 1) {
      assertRefusal(await exchange(port, get('/inside/health', auth)), 502, 503)
    }
  })

  for (const [place, elsewhere] of [
    '169.254.169.254',
    '::ffff:169.254.169.254',
    'fd00:ec2::254',
    '0.0.0.0',
  ].entries()) {
    test(`a name that leads to ${elsewhere} the second time is refused at the connection`, async () => {
      await using upstream = await RawUpstream.listen()
      // Each answer ends its connection, so that each request resolves and connects anew.
      upstream.behave(async (arrived) => {
        await answerWith('inside', 'Connection: close\r\n')(arrived)
        arrived.socket.end()
      })
      const name = `rebinds-${place}`
      const host = `${name}.example`
      lead({ [host]: '127.0.0.1' })
      await register(house, name, upstream.port, { address: host })
      const ask = () => exchange(port, get(`/${name}/latest/meta-data`, auth))
      await until('it serves', async () => (await ask()).status === 200)
      lead({ [host]: elsewhere })
      upstream.behave(answerWith('inside'))
      const startedMs = performance.now()
      for (let count = 0; count < 5; count += 1) assertRefusal(await ask(), 502, 503)
      assert.deepEqual(upstream.heads, [])
      assert.ok(performance.now() - startedMs < 8_000, 'refused, and not tried')
    })
  }

  test('a name that leads to a good and a bad address at once is refused', async () => {
    await using upstream = await RawUpstream.listen()
    lead({ 'both.example': '127.0.0.1,169.254.169.254' })
    await register(house, 'both', upstream.port, { address: 'both.example' })
    await until('the gateway knows the service', async () => {
      return (await exchange(port, get('/both/x', auth))).status !== 404
    })
    for (let count = 0; count < 5; count += 1) {
      assertRefusal(await exchange(port, get('/both/x', auth)), 502, 503)
    }
    assert.deepEqual(upstream.heads, [])
  })
}
