import { test } from 'node:test'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { connect } from 'node:net'
import { request } from 'node:https'
import { HausError } from '@haus/contract'
import { testCertificate } from '../../testing/certificate.ts'
import { startHttpServer } from '../../testing/http-server.ts'

test('closing finishes what runs, ends streams, and takes nothing new', async () => {
  const gate = Promise.withResolvers<void>()
  const running = Promise.withResolvers<void>()
  const server = await startHttpServer({
    handlers: {
      getLive: async () => {
        running.resolve()
        await gate.promise
        return { status: 200, body: { status: 'alive' } }
      },
      streamEvents: () => {
        const stream = new Readable({ read() {} })
        stream.push('data: 1\n\n')
        return { status: 200, stream }
      },
    },
  })
  const idle = connect(server.port, '127.0.0.1')
  await once(idle, 'connect')
  const events = await fetch(`${server.url}/api/events`, {
    headers: { authorization: 'Bearer operator-token' },
  })
  const reader = events.body?.getReader()
  await reader?.read()
  const live = fetch(`${server.url}/health/live`)
  await running.promise

  const closed = server.http.close(5000)
  await assert.rejects(async () => {
    for (;;) if ((await reader?.read())?.done === true) throw new Error('ended')
  })
  await assert.rejects(fetch(`${server.url}/health/ready`))
  gate.resolve()
  const answer = await live
  assert.equal(answer.status, 200)
  assert.equal(answer.headers.get('connection'), 'close')
  await closed
  idle.destroy()
})

test('what does not finish in time is cut off', async () => {
  const running = Promise.withResolvers<void>()
  const server = await startHttpServer({
    handlers: {
      getLive: () => {
        running.resolve()
        return new Promise(() => {})
      },
    },
  })
  const live = fetch(`${server.url}/health/live`).then(
    () => 'answered',
    () => 'cut',
  )
  await running.promise
  await server.http.close(20)
  assert.equal(await live, 'cut')
})

test('a taken address is said in one sentence', async () => {
  const server = await startHttpServer()
  try {
    await assert.rejects(
      startHttpServer({ port: server.port }),
      (error: unknown) => error instanceof HausError && error.code === 'address_in_use',
    )
  } finally {
    await server.close()
  }
})

test('with a certificate it speaks TLS 1.2 and newer, with the same door', async () => {
  const server = await startHttpServer({ tls: testCertificate })
  try {
    assert.match(server.url, /^https:/)
    const answered = Promise.withResolvers<number | undefined>()
    request(
      `${server.url}/health/live`,
      { rejectUnauthorized: false, headers: { host: 'evil.example' } },
      (response) => {
        response.resume()
        answered.resolve(response.statusCode)
      },
    )
      .on('error', answered.reject)
      .end()
    assert.equal(await answered.promise, 421)
  } finally {
    await server.close()
  }
})
