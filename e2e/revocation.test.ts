/** A revocation holds from the moment it is acknowledged, for requests that are half-way too. */
import net from 'node:net'
import { once } from 'node:events'
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { createIdentity } from './client.ts'
import { startHouse } from './harness.ts'

test('a body that arrives after the key was revoked gets nothing, and nothing is written', async () => {
  await using house = await startHouse()
  const { token, clientId } = await createIdentity(house.operator, 'orders')
  const { hostname, port } = new URL(house.url)
  const body = JSON.stringify({ name: 'orders', version: '1.0.0', port: 3999 })
  const socket = net.connect(Number(port), hostname)
  await once(socket, 'connect')
  let received = ''
  socket.on('data', (chunk: Buffer) => {
    received += chunk.toString()
  })
  socket.write(
    `POST /api/services/register HTTP/1.1\r\nHost: ${hostname}\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n`,
  )
  // The house asks for the body once it has taken the head: the token was good at that moment.
  await once(socket, 'data')
  assert.match(received, /^HTTP\/1\.1 100 /)
  await house.operator.expect(204, 'DELETE', `/api/services/orders/keys/${clientId}`)
  socket.write(body)
  await once(socket, 'close')
  assert.match(received, /HTTP\/1\.1 401 /)
  assert.match(received, /"code":"token_revoked"/)
  const { body: services } = await house.operator.expect(200, 'GET', '/api/services')
  assert.deepEqual(services.items, [])
})
