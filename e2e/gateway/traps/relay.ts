/** `POST /api/gateway/proxy`: an answer of a service that comes out of the API must not be taken for the API's. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { answerWith } from '../raw-upstream.ts'
import type { FrontDoor } from '../front-door.ts'

export function relay({ operator, service }: FrontDoor): void {
  const send = (request: Readonly<Record<string, unknown>>) =>
    operator.post('/api/gateway/proxy', request)

  test('the API passes a request on, and nothing of the answer acts in its name', async () => {
    const { name, upstream } = await service('relayed')
    const acting = [
      'Set-Cookie: haus=1',
      'Location: https://elsewhere.example/',
      'Access-Control-Allow-Origin: *',
      'Haus-Source: gateway',
      'X-Own: kept',
    ]
    upstream.behave(answerWith('<script>', `${acting.join('\r\n')}\r\n`, 'HTTP/1.1 302 Found'))
    const answer = await send({
      service: name,
      method: 'PUT',
      path: '/x?a=1',
      headers: { 'X-Asked': 'yes', 'Haus-Relay-Caller': 'somebody' },
      body: 'text',
    })
    assert.equal(answer.status, 302)
    assert.equal(answer.text, '<script>')
    const { headers } = answer
    assert.equal(headers['haus-source'], 'upstream')
    assert.equal(headers['content-security-policy'], 'sandbox')
    assert.equal(headers['x-own'], 'kept')
    for (const field of ['set-cookie', 'location', 'access-control-allow-origin']) {
      assert.equal(headers[field], undefined, field)
    }
    const arrived = upstream.only
    assert.equal(`${arrived.method} ${arrived.target}`, 'PUT /x?a=1')
    assert.equal(arrived.body.toString(), 'text')
    assert.deepEqual(arrived.all('x-asked'), ['yes'])
    for (const own of ['authorization', 'haus-relay-secret', 'haus-relay-caller']) {
      assert.deepEqual(arrived.all(own), [], own)
    }
  })

  test('HEAD through the API ends, although it tells the length of a body that does not come', async () => {
    const { name, upstream } = await service('relayed')
    upstream.behave(({ socket }) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nX-Own: kept\r\n\r\n')
    })
    const answer = await send({ service: name, method: 'HEAD', path: '/x' })
    assert.equal(answer.status, 200)
    assert.equal(answer.headers['x-own'], 'kept')
    assert.equal(answer.text, '')
  })
}
