/**
 * The path that was matched is the path that is sent on. Whatever the gateway and a service could
 * read as two different paths is refused; everything else arrives byte for byte.
 */
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { assertRefusal, get } from '../front-door.ts'
import { exchange } from '../raw-client.ts'
import { answerWith } from '../raw-upstream.ts'
import type { FrontDoor } from '../front-door.ts'

export async function paths(door: FrontDoor): Promise<void> {
  const { port, token } = door
  const { upstream } = await door.service('orders')
  const admin = await door.service('admin')
  const lines = `Haus-Token: ${token}\r\nConnection: close\r\n`

  for (const [trap, target] of [
    ['a dot segment', '/orders/../admin/x'],
    ['a dot segment at the end', '/orders/a/..'],
    ['a single dot', '/orders/./x'],
    ['an encoded dot segment', '/orders/%2e%2e/admin/x'],
    ['a half-encoded dot segment', '/orders/.%2E/admin/x'],
    ['an encoded single dot', '/orders/%2e/x'],
    ['an encoded slash', '/orders/a%2fb'],
    ['an encoded slash in the service', '/orders%2fx'],
    ['an encoded slash around a dot segment', '/orders/%2f..%2fadmin'],
    ['an encoded backslash', '/orders/a%5cb'],
    ['a backslash', '/orders\\..\\admin'],
    ['an encoded NUL', '/orders/a%00b'],
    ['an encoded line end', '/orders/a%0d%0aX-Evil:%20b'],
    ['an encoded question mark', '/orders/a%3fb=c'],
    ['an encoded hash', '/orders/a%23b'],
    ['an encoded semicolon', '/orders/a%3bb'],
    ['a fragment', '/orders/a#b'],
    ['a fragment in the query', '/orders/a?b#c'],
    ['a double slash first', '//evil/x'],
    ['a double slash before the service', '//orders/x'],
    ['a double slash inside', '/orders//admin'],
    ['a broken escape', '/orders/%zz'],
    ['a cut-off escape', '/orders/%2'],
    ['an escape that is not UTF-8', '/orders/%c3%28'],
    ['an overlong slash', '/orders/%c0%af'],
    ['a dot segment behind a parameter', '/orders/..;/admin'],
  ] as const) {
    test(`${trap} in ${target} is refused before any service sees it`, async () => {
      upstream.behave(answerWith())
      admin.upstream.behave(answerWith())
      assertRefusal(await exchange(port, get(target, lines)), 400)
      assert.deepEqual([...upstream.heads, ...admin.upstream.heads], [])
    })
  }

  for (const [asked, sent] of [
    ['/orders', '/'],
    ['/orders/', '/'],
    ['/orders?x=1', '/?x=1'],
    ['/orders/a/b/', '/a/b/'],
    ['/orders/a%20b/%C3%A4/%7Ex', '/a%20b/%C3%A4/%7Ex'],
    ["/orders/~-._!$&'()*+,=:@", "/~-._!$&'()*+,=:@"],
    ['/orders/...', '/...'],
    ['/orders/.well-known/x', '/.well-known/x'],
    ['/orders/a?', '/a?'],
    ['/orders/a??', '/a??'],
    ['/orders/a?q=%2F..%2F&x=1+2&x=%zz', '/a?q=%2F..%2F&x=1+2&x=%zz'],
    ['/orders/a?url=http://evil.example//x/../y&b=;', '/a?url=http://evil.example//x/../y&b=;'],
    ['/orders/orders/orders', '/orders/orders'],
    [`/orders/${'a'.repeat(4000)}`, `/${'a'.repeat(4000)}`],
  ] as const) {
    test(`${asked.slice(0, 60)} reaches the service as ${sent.slice(0, 60)}, byte for byte`, async () => {
      upstream.behave(answerWith())
      assert.equal((await exchange(port, get(asked, lines))).status, 200)
      assert.equal(upstream.only.target, sent)
    })

    test(`by host, ${sent.slice(0, 60)} arrives byte for byte`, async () => {
      upstream.behave(answerWith())
      const answer = await exchange(port, get(sent, lines, 'orders.haus.localhost'))
      assert.equal(answer.status, 200, answer.body.toString())
      assert.equal(upstream.only.target, sent)
    })
  }

  test('the host of a service is told from a path whatever its letters and its port', async () => {
    for (const host of ['ORDERS.haus.LOCALHOST', `orders.haus.localhost:${port}`]) {
      upstream.behave(answerWith())
      assert.equal((await exchange(port, get('/admin/x', lines, host))).status, 200, host)
      assert.equal(upstream.only.target, '/admin/x', 'the host has decided')
    }
  })

  test('a host below the domain that is no service is no way to one', async () => {
    upstream.behave(answerWith())
    for (const host of [
      'nobody.haus.localhost',
      'a.orders.haus.localhost',
      'orders.haus.localhost.evil.example',
      'ordershaus.localhost',
    ]) {
      const answer = await exchange(port, get('/orders/x', lines, host))
      assertRefusal(answer, 400, 404, 421)
    }
    assert.deepEqual(upstream.heads, [])
  })

  test('an unknown service and a reserved name are 404, and so are names that are none', async () => {
    for (const name of [
      'nobody',
      'api',
      'gateway',
      'health',
      'ORDERS',
      'orders%2e',
      'or%64ers',
      'x'.repeat(64),
    ]) {
      upstream.behave(answerWith())
      assertRefusal(await exchange(port, get(`/${name}/x`, lines)), 400, 404)
      assert.deepEqual(upstream.heads, [], name)
    }
  })

  test('an alias leads to its service', async () => {
    await door.operator.expectSoon(200, 'PATCH', '/api/services/orders', { aliases: ['zimmer-44'] })
    upstream.behave(answerWith())
    assert.equal((await exchange(port, get('/zimmer-44/a?b', lines))).status, 200)
    assert.equal(upstream.only.target, '/a?b')
  })
}
