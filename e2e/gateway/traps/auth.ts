/** Who may pass the gateway, and that his key ends there. */
import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto'
import fs from 'node:fs'
import { test } from 'node:test'
import assert from 'node:assert/strict'
import path from 'node:path'
import { until } from '../../../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { requestToken } from '../../client.ts'
import {
  assertRefusal,
  createKey,
  gatewayPort,
  get,
  register,
  type FrontDoor,
} from '../front-door.ts'
import { exchange, RawClient } from '../raw-client.ts'
import { answerWith } from '../raw-upstream.ts'
import { startHouse, temporaryFolder } from '../../harness.ts'

export async function authentication(door: FrontDoor): Promise<void> {
  const { port, token, house, operator } = door
  const { upstream } = await door.service('orders')

  const bearer = (value: string): string => `Authorization: Bearer ${value}\r\n`
  const ask = (lines: string, target = '/orders/x') => exchange(port, get(target, lines))

  test('a token for the gateway passes in Authorization and in Haus-Token, and ends there', async () => {
    for (const lines of [
      bearer(token),
      `authorization: bearer ${token}\r\n`,
      `Haus-Token: ${token}\r\n`,
      `HAUS-TOKEN: ${token}\r\n${bearer(token)}`,
    ]) {
      upstream.behave(answerWith())
      const answer = await ask(lines)
      assert.equal(answer.status, 200, answer.body.toString())
      const { head } = upstream.only
      assert.ok(!head.includes(token), 'the token has reached the service')
      assert.doesNotMatch(head, /haus-token/i)
    }
  })

  test('with the token in Haus-Token, an Authorization of the application’s own arrives', async () => {
    upstream.behave(answerWith())
    assert.equal(
      (await ask(`Haus-Token: ${token}\r\nAuthorization: Basic eHg6eXk=\r\n`)).status,
      200,
    )
    assert.deepEqual(upstream.only.all('authorization'), ['Basic eHg6eXk='])
  })

  test('no token, or what is none, is 401, and nothing reaches the service', async () => {
    upstream.behave(answerWith())
    for (const lines of [
      '',
      'Authorization: \r\n',
      'Authorization: Bearer\r\n',
      'Authorization: Bearer x\r\n',
      `Authorization: Basic ${token}\r\n`,
      'Haus-Token: \r\n',
      'Haus-Token: x.y.z\r\n',
      `Haus-Token: Bearer\r\n`,
      `Cookie: haus-token=${token}\r\n`,
      `X-Haus-Token: ${token}\r\n`,
      `Haus_Token: ${token}\r\n`,
    ]) {
      assertRefusal(await ask(lines), 400, 401)
    }
    assertRefusal(await ask('', `/orders/x?access_token=${token}&token=${token}`), 401)
    assert.deepEqual(upstream.heads, [])
  })

  test('the operator’s token is refused, and does not reach the service', async () => {
    upstream.behave(answerWith())
    assertRefusal(await ask(bearer(house.operatorToken)), 401)
    assertRefusal(await ask(`Haus-Token: ${house.operatorToken}\r\n`), 401)
    assert.deepEqual(upstream.heads, [])
  })

  test('a token for the API is refused at the gateway, and one for the gateway at the API', async () => {
    upstream.behave(answerWith())
    const forApi = await requestToken(house.url, door.key)
    assertRefusal(await ask(bearer(forApi)), 401)
    assert.deepEqual(upstream.heads, [])
    const answer = await house.as(token).get('/api/discover?service=orders')
    assert.equal(answer.status, 401)
  })

  test('a token of another signer, of none, or changed in one letter is refused', async () => {
    upstream.behave(answerWith())
    const [head = '', claims = '', signature = ''] = token.split('.')
    const text = (part: string): string => Buffer.from(part, 'base64url').toString()
    const coded = (value: unknown): string =>
      Buffer.from(JSON.stringify(value)).toString('base64url')
    const { privateKey } = generateKeyPairSync('ed25519')
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' })
    const signed = `${head}.${claims}`
    const foreign = sign(null, Buffer.from(signed), createPrivateKey(pem)).toString('base64url')
    const other = { ...JSON.parse(text(claims)), sub: 'service:orders' }
    const none = coded({ ...JSON.parse(text(head)), alg: 'none' })
    const flipped = signature.startsWith('A') ? `B${signature.slice(1)}` : `A${signature.slice(1)}`
    for (const forged of [
      `${signed}.${foreign}`,
      `${head}.${coded(other)}.${signature}`,
      `${none}.${claims}.`,
      `${none}.${claims}.${signature}`,
      `${signed}.${flipped}`,
      `${signed}.`,
      signed,
    ]) {
      assertRefusal(await ask(bearer(forged)), 401)
    }
    assert.deepEqual(upstream.heads, [])
  })

  test('a token of another house is refused, and so is one of its own that has expired', async (t) => {
    const folder = temporaryFolder()
    t.after(() => fs.rmSync(folder, { recursive: true }))
    const later = path.join(folder, 'later')
    const preload = new URL('../clock-ahead-preload.ts', import.meta.url).href
    await using other = await startHouse({
      env: { NODE_OPTIONS: `--import=${preload}`, HAUS_TEST_CLOCK_AHEAD_FILE: later },
    })
    const key = await createKey(other.operator, 'visitor')
    const old = await requestToken(other.url, key, 'haus-gateway')
    upstream.behave(answerWith())
    assertRefusal(await ask(bearer(old)), 401)
    assert.deepEqual(upstream.heads, [])
    await register(other, 'orders', upstream.port)
    // Past the leeway too.
    fs.writeFileSync(later, 'sixteen minutes')
    const place = gatewayPort(other)
    const answer = await exchange(place, get('/orders/x', bearer(old)))
    assertRefusal(answer, 401)
    assert.equal(JSON.parse(answer.body.toString()).code, 'token_expired')
    assert.deepEqual(upstream.heads, [])
    const fresh = await requestToken(other.url, key, 'haus-gateway')
    await until('a fresh one passes', async () => {
      return (await exchange(place, get('/orders/x', bearer(fresh)))).status === 200
    })
  })

  test('a token that passed a moment ago is refused once its key is revoked, on open connections too', async () => {
    const key = await createKey(operator, 'guest')
    const guest = await requestToken(house.url, key, 'haus-gateway')
    upstream.behave(answerWith())
    await using client = await RawClient.connect(port)
    client.write(get('/orders/x', bearer(guest)))
    assert.equal((await client.answer()).status, 200)
    await operator.expectSoon(204, 'DELETE', `/api/services/guest/keys/${key.clientId}`)
    // The gateway has a thread of its own; what was acknowledged holds there all the same.
    upstream.behave(answerWith())
    client.write(get('/orders/x', bearer(guest)))
    assertRefusal(await client.answer(), 401)
    for (let count = 0; count < 20; count += 1) assertRefusal(await ask(bearer(guest)), 401)
    assert.deepEqual(upstream.heads, [])
  })

  test('a refusal never repeats what was sent as a token', async () => {
    const secret = 'canary-in-the-place-of-a-token'
    const answer = await ask(bearer(secret))
    assert.ok(!`${answer.head}${answer.body.toString()}`.includes(secret))
    assert.ok(!house.stdout().includes(secret))
    assert.ok(!`${house.stdout()}${house.stderr()}`.includes(token))
  })

  test('a service that names its callers takes no other, and null opens it again', async () => {
    const { upstream: own } = await door.service('vault')
    const friend = await requestToken(
      house.url,
      await createKey(operator, 'friend'),
      'haus-gateway',
    )
    const visit = (value: string) => ask(bearer(value), '/vault/x')
    await operator.expectSoon(200, 'PATCH', '/api/services/vault', { callers: ['friend'] })
    await until('the gateway knows its callers', async () => (await visit(token)).status === 403)
    own.behave(answerWith())
    assertRefusal(await visit(token), 403)
    assert.deepEqual(own.heads, [])
    assert.equal((await visit(friend)).status, 200)
    // By whatever name and on whatever way.
    assertRefusal(await exchange(port, get('/x', bearer(token), 'vault.haus.localhost')), 403)
    await operator.expectSoon(200, 'PATCH', '/api/services/vault', { callers: null })
    await until('it is open again', async () => (await visit(token)).status === 200)
  })

  test('a published route needs no token, only there; what is published is no key to the rest', async () => {
    const route = await operator.expectSoon(201, 'POST', '/api/gateway/routes', {
      host: 'shop.example',
      pathPrefix: '/shop',
      methods: ['GET'],
      service: 'orders',
      stripPrefix: true,
    })
    const at = (target: string, lines = '', host = 'shop.example') =>
      exchange(port, get(target, lines, host))
    await until('it is published', async () => (await at('/shop/x')).status === 200)
    upstream.behave(answerWith())
    assert.equal((await at('/shop/a%20b?c=/d')).status, 200)
    assert.equal(upstream.only.target, '/a%20b?c=/d')
    assert.deepEqual(upstream.only.all('x-forwarded-prefix'), ['/shop'])
    assert.deepEqual(upstream.only.all('x-forwarded-host'), ['shop.example'])

    upstream.behave(answerWith())
    for (const [target, host] of [
      ['/shopping', 'shop.example'],
      ['/Shop/x', 'shop.example'],
      ['/', 'shop.example'],
      ['/orders/x', 'shop.example'],
      ['/shop/x', 'other.example'],
      ['/shop/x', 'haus.localhost'],
      ['/shop/../orders/x', 'shop.example'],
      ['/shop/%2e%2e/orders/x', 'shop.example'],
      ['/sh%6fp/x', 'shop.example'],
      ['//shop/x', 'shop.example'],
    ] as const) {
      assertRefusal(await at(target, '', host), 400, 401, 404, 421)
    }
    const posted = await exchange(
      port,
      'POST /shop/x HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n',
    )
    assertRefusal(posted, 401, 404, 405, 421)
    assert.deepEqual(upstream.heads, [])

    // The application's own key is its own business; one of the house never is.
    upstream.behave(answerWith())
    await at('/shop/x', 'Authorization: Bearer of-the-application\r\n')
    assert.deepEqual(upstream.only.all('authorization'), ['Bearer of-the-application'])
    for (const lines of [bearer(token), `Haus-Token: ${token}\r\n`, bearer(house.operatorToken)]) {
      upstream.behave(answerWith())
      await at('/shop/x', lines)
      for (const { head } of upstream.requests) {
        assert.ok(!head.includes(token) && !head.includes(house.operatorToken))
      }
    }

    await operator.expectSoon(204, 'DELETE', `/api/gateway/routes/${route.body.id}`)
    await until('it is public no more', async () => (await at('/shop/x')).status !== 200)
  })
}
