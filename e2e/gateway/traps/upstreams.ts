/**
 * Services that misbehave: whatever they send or fail to send, a client gets its own answer, a
 * clear refusal or a transfer that is visibly broken, and nothing is executed twice that may not be.
 */
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import { runGatewayLoad } from '../../../bench/gateway-load.ts'
import { resetConnection } from '../../../services/zimmer-13-api-coordinator/src/testing/reset-connection.ts'
import { until } from '../../../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { assertRefusal, get, post } from '../front-door.ts'
import { CutOff, exchange, RawClient } from '../raw-client.ts'
import { answerWith, type Behaviour, type Exchange } from '../raw-upstream.ts'
import type { FrontDoor } from '../front-door.ts'

const say =
  (bytes: string, then?: (exchange: Exchange) => void): Behaviour =>
  async (arrived) => {
    await arrived.whole
    arrived.socket.write(bytes)
    then?.(arrived)
  }
const end = ({ socket }: Exchange): void => void socket.end()
const reset = ({ socket }: Exchange): void => resetConnection(socket)

export function misbehavingUpstreams(door: FrontDoor): void {
  const { port, token } = door
  const auth = `Haus-Token: ${token}\r\n`

  /** A service of its own for each test: what one does to an instance must not decide the next. */
  let made = 0
  const service = (instances = 1) => door.service(`room-${(made += 1)}`, { instances })

  test('response-queue poisoning: 0 of 1,000 answers that nobody asked for reach a client', async (t) => {
    const lanes = 8
    const rounds = 1_000 / lanes
    const poison = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON'
    const counts = { good: 0, refused: 0, cut: 0, poisoned: 0 }
    const lane = async (): Promise<void> => {
      const { name, upstream } = await service()
      let last: Exchange | undefined
      const modes = [
        'in one segment',
        'with the next request',
        'a turn later',
        'on the idle socket',
      ] as const
      let mode: (typeof modes)[number] = 'in one segment'
      upstream.behave(async (arrived) => {
        last = arrived
        const { target } = arrived.received
        const answer = `HTTP/1.1 200 OK\r\nContent-Length: ${target.length}\r\n\r\n${target}`
        const together = mode === 'in one segment' && target.startsWith('/first')
        arrived.socket.write(together ? answer + poison : answer)
      })
      let client = await RawClient.connect(port)
      const ask = async (target: string, beforehand?: () => void): Promise<void> => {
        beforehand?.()
        client.write(get(`/${name}${target}`, auth))
        try {
          const { status, body } = await client.answer()
          if (status !== 200) counts.refused += 1
          else if (body.toString() === target) counts.good += 1
          else counts.poisoned += 1
        } catch (error) {
          if (!(error instanceof CutOff)) throw error
          counts.cut += 1
        }
        if (!client.ended) return
        client = await RawClient.connect(port)
      }
      for (let round = 0; round < rounds; round += 1) {
        mode = modes[round % modes.length] ?? 'in one segment'
        await ask(`/first-${round}`)
        const idle = last?.socket
        if (mode === 'a turn later') {
          idle?.write(poison)
          await turn()
        } else if (mode === 'on the idle socket') {
          idle?.write(poison)
          await until(
            'the gateway has dropped the socket',
            () => idle?.destroyed ?? true,
            2_000,
          ).catch(() => {})
        }
        await ask(
          `/second-${round}`,
          mode === 'with the next request' ? () => idle?.write(poison) : undefined,
        )
      }
      client.socket.destroy()
    }
    await Promise.all(Array.from({ length: lanes }, lane))
    t.diagnostic(JSON.stringify(counts))
    assert.equal(counts.poisoned, 0)
    assert.ok(counts.good >= 1_000, `most answers are good: ${JSON.stringify(counts)}`)
  })

  for (const [what, behaviour] of [
    ['what is no HTTP', say('SSH-2.0-OpenSSH_9.2\r\n', end)],
    ['a status that is none', say('HTTP/1.1 99999 Odd\r\n\r\n', end)],
    ['a length that is none', say('HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n', end)],
    [
      'two lengths',
      say('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 2\r\n\r\nhello', end),
    ],
    [
      'a length beside chunks',
      say(
        'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
        end,
      ),
    ],
    ['a head without end', say(`HTTP/1.1 200 OK\r\nX: ${'a'.repeat(200_000)}`)],
    [
      'a switch of protocols that nobody asked for',
      say('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n'),
    ],
    ['nothing, and closes', say('', end)],
    ['half a head, and closes', say('HTTP/1.1 200 OK\r\nContent-', end)],
    ['a reset', reset],
  ] as const) {
    test(`a service that answers ${what} gives a 502 of the gateway`, async () => {
      const { name, upstream } = await service()
      upstream.behave(behaviour)
      const answer = await exchange(
        port,
        post(`/${name}/x`, `${auth}Connection: close\r\n`, 'body'),
      )
      assertRefusal(answer, 502)
      assert.equal(upstream.requests.length, 1, 'a POST is sent once')
    })
  }

  for (const [what, bytes, then] of [
    [
      'closes before the length it has promised',
      'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello',
      end,
    ],
    [
      'is reset before the length it has promised',
      'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello',
      reset,
    ],
    [
      'closes in the middle of its chunks',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n',
      end,
    ],
    [
      'sends a chunk size that is none',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n',
      undefined,
    ],
  ] as const) {
    test(`an answer that ${what} is seen as broken, never as a short success`, async () => {
      const { name, upstream } = await service()
      // The end comes once the client has the beginning: nothing is left but to break the transfer.
      let arrived: Exchange | undefined
      const cut = bytes.lastIndexOf('hello') + 'hello'.length
      upstream.behave(say(bytes.slice(0, cut), (exchange_) => (arrived = exchange_)))
      await using client = await RawClient.connect(port)
      client.write(get(`/${name}/x`, auth))
      await until('the client has the beginning', () => client.rest.includes('hello'))
      arrived?.socket.write(bytes.slice(cut))
      if (arrived) then?.(arrived)
      await assert.rejects(client.answer(), CutOff)
      assert.equal(upstream.requests.length, 1, 'and is not asked for again')
    })
  }

  test('an answer that ends with its connection arrives in full', async () => {
    const { name, upstream } = await service()
    upstream.behave(say('HTTP/1.1 200 OK\r\n\r\nall of it', end))
    assert.equal((await exchange(port, get(`/${name}/x`, auth))).body.toString(), 'all of it')
    upstream.behave(say('HTTP/1.0 200 OK\r\n\r\nold', end))
    assert.equal((await exchange(port, get(`/${name}/x`, auth))).body.toString(), 'old')
  })

  test('bodies that answers to HEAD, 204 and 304 cannot have do not slip into the next answer', async () => {
    const { name, upstream } = await service()
    await using client = await RawClient.connect(port)
    for (const [method, status] of [
      ['HEAD', '200 OK'],
      ['GET', '304 Not Modified'],
      ['GET', '204 No Content'],
    ] as const) {
      upstream.behave(
        answerWith('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nBAD', '', `HTTP/1.1 ${status}`),
      )
      client.write(get(`/${name}/first`, auth).replace('GET', method))
      const first = await client.answer({ withoutBody: true })
      // A status that may have no body and has bytes behind it is a fault of the service: 502 is as good.
      assert.ok([Number(status.slice(0, 3)), 502].includes(first.status), first.head)
      upstream.behave(answerWith('good'))
      client.write(get(`/${name}/next`, auth))
      assert.equal((await client.answer()).body.toString(), 'good')
    }
  })

  test('HEAD keeps both connections, and has the length that GET would have', async () => {
    const { name, upstream } = await service()
    upstream.behave(async ({ received, socket, whole }) => {
      await whole
      const body = received.method === 'HEAD' ? '' : 'hello'
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n${body}`)
    })
    await using client = await RawClient.connect(port)
    for (const method of ['HEAD', 'HEAD', 'GET', 'HEAD']) {
      client.write(`${method} /${name}/x HTTP/1.1\r\nHost: haus.localhost\r\n${auth}\r\n`)
      const answer = await client.answer({ withoutBody: method === 'HEAD' })
      assert.equal(answer.status, 200)
      assert.deepEqual(answer.fields.get('content-length'), ['5'])
    }
    const connections = new Set(upstream.requests.map(({ connection }) => connection))
    assert.equal(connections.size, 1, 'one connection to the service')
  })

  test('connections to a service are kept and used again', async () => {
    const { name, upstream } = await service()
    upstream.behave(answerWith())
    for (let count = 0; count < 20; count += 1) {
      assert.equal((await exchange(port, get(`/${name}/x`, auth))).status, 200)
    }
    assert.ok(new Set(upstream.requests.map(({ connection }) => connection)).size <= 2)
  })

  test('after an answer that came before the body was read, neither connection is used again', async () => {
    const { name, upstream } = await service()
    upstream.behave(({ socket }) => {
      socket.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno')
    })
    await using client = await RawClient.connect(port)
    client.write(
      `POST /${name}/early HTTP/1.1\r\nHost: haus.localhost\r\n${auth}Content-Length: 100000\r\n\r\nbeginning`,
    )
    const answer = await client.answer()
    assert.equal(answer.status, 403)
    assert.equal(answer.body.toString(), 'no')
    // What follows on this connection is the rest of that body, whatever it looks like.
    client.write(get(`/${name}/smuggled`, auth))
    await until('the gateway has closed the connection', () => client.ended)
    const first = upstream.requests[0]?.connection
    assert.deepEqual(
      upstream.requests.map(({ target }) => target),
      ['/early'],
    )
    upstream.behave(answerWith('next'))
    assert.equal((await exchange(port, get(`/${name}/next`, auth))).body.toString(), 'next')
    assert.notEqual(upstream.only.connection, first)
  })

  test('a client that was told to go on has the whole of an early answer, and its instance stays trusted', async () => {
    const { name, upstream } = await service()
    upstream.behave(({ socket }) => {
      socket.write('HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno')
    })
    await using client = await RawClient.connect(port)
    client.write(
      `POST /${name}/early HTTP/1.1\r\nHost: haus.localhost\r\n${auth}Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n`,
    )
    assert.equal(await client.interim(), 100)
    client.write('x'.repeat(300_000))
    const answer = await client.answer()
    assert.deepEqual([answer.status, answer.body.toString()], [413, 'no'])
    // What comes behind the answer is read and dropped, or the kernel would take the answer back.
    client.write('x'.repeat(300_000))
    await until('the gateway has closed the connection', () => client.ended)
    const { body } = await door.operator.expect(200, 'GET', `/api/gateway/status?service=${name}`)
    assert.equal(body.items[0].instances[0].state, 'healthy')
  })

  test('a client that goes away ends the request to the service', async () => {
    const { name, upstream } = await service()
    let arrived: Exchange | undefined
    upstream.behave((exchange_) => {
      arrived = exchange_
    })
    const client = await RawClient.connect(port)
    client.write(get(`/${name}/x`, auth))
    await until('the request is there', () => arrived)
    client.socket.destroy()
    await until('the service sees that nobody waits', () => arrived?.socket.destroyed)
  })

  test('a client that goes away ends all that it had asked for on its connection', async () => {
    const { name, upstream } = await service()
    const arrived: Exchange[] = []
    upstream.behave((exchange_) => void arrived.push(exchange_))
    const client = await RawClient.connect(port)
    client.write(['first', 'second', 'third'].map((at) => get(`/${name}/${at}`, auth)).join(''))
    await until('all are there', () => arrived.length === 3)
    client.socket.destroy()
    await until('the service sees that nobody waits', () =>
      arrived.every(({ socket }) => socket.destroyed),
    )
  })

  test('an upload that breaks off is broken for the service too, and never a short success', async () => {
    const { name, upstream } = await service()
    upstream.behave(answerWith())
    for (const framing of ['Content-Length: 100', 'Transfer-Encoding: chunked']) {
      const client = await RawClient.connect(port)
      const begin = framing.startsWith('C') ? 'begin' : '5\r\nbegin\r\n'
      client.write(
        `POST /${name}/x HTTP/1.1\r\nHost: haus.localhost\r\n${auth}${framing}\r\n\r\n${begin}`,
      )
      // Small bodies may be kept until they are whole: then the service sees nothing at all.
      await until('the gateway has read it', () => client.socket.bytesWritten > 0)
      client.socket.destroy()
    }
    const probe = await exchange(port, get(`/${name}/after`, auth))
    assert.equal(probe.status, 200)
    assert.deepEqual(
      upstream.requests.filter(({ complete }) => complete).map(({ target }) => target),
      ['/after'],
    )
  })

  test('a refused connection is tried on a sibling, whatever the method', async () => {
    const { name, upstreams } = await service(2)
    const [gone, other] = upstreams
    assert.ok(gone && other)
    other.behave(answerWith('sibling'))
    await gone.close()
    for (let count = 0; count < 20; count += 1) {
      const bytes = count % 2 === 0 ? get(`/${name}/x`, auth) : post(`/${name}/x`, auth, 'once')
      assert.equal((await exchange(port, bytes)).body.toString(), 'sibling')
    }
    assert.equal(other.requests.length, 20)
  })

  test('a service whose only instance is gone gives 502 or 503 at once', async () => {
    const { name, upstream } = await service()
    await upstream.close()
    for (let count = 0; count < 5; count += 1) {
      const startedMs = performance.now()
      assertRefusal(await exchange(port, get(`/${name}/x`, auth)), 502, 503)
      assert.ok(performance.now() - startedMs < 5_000)
    }
  })

  test('a service without any instance gives 503', async () => {
    const { name, upstream } = await service()
    await door.operator.expectSoon(204, 'DELETE', `/api/services/${name}`)
    await until('the gateway has heard of it', async () => {
      const answer = await exchange(port, get(`/${name}/x`, auth))
      return answer.status !== 200
    })
    assertRefusal(await exchange(port, get(`/${name}/x`, auth)), 404, 503)
    assert.equal(
      upstream.requests.some(({ target }) => target === '/never'),
      false,
    )
  })

  test('GET and HEAD that break before an answer are run again on a sibling; POST never is', async () => {
    const { name, upstreams } = await service(2)
    for (const upstream of upstreams) {
      // Each breaks whatever is the first it sees of a request, so that only a second try can succeed.
      upstream.behave(async (arrived) => {
        await arrived.whole
        const { target } = arrived.received
        const tries = upstreams
          .flatMap(({ requests }) => requests)
          .filter((r) => r.target === target)
        if (tries.length === 1) return reset(arrived)
        await answerWith('second')(arrived)
      })
    }
    const tries = (target: string): number =>
      upstreams.flatMap(({ requests }) => requests).filter((r) => r.target === target).length
    const again = await exchange(port, get(`/${name}/get`, auth))
    assert.equal(again.body.toString(), 'second')
    assert.equal(tries('/get'), 2)
    const once = await exchange(port, post(`/${name}/post`, auth, 'pay'))
    assertRefusal(once, 502)
    assert.equal(tries('/post'), 1)
    const patch = await exchange(port, post(`/${name}/patch`, auth, 'pay').replace('POST', 'PATCH'))
    assertRefusal(patch, 502)
    assert.equal(tries('/patch'), 1)
  })

  test('of 300 POSTs that race with a service closing its idle connections none runs twice, and every success ran', async (t) => {
    const { name, upstreams } = await service(2)
    const ran = new Map<string, number>()
    for (const upstream of upstreams) {
      upstream.behave(async (arrived) => {
        await arrived.whole
        const { target } = arrived.received
        ran.set(target, (ran.get(target) ?? 0) + 1)
        await answerWith()(arrived)
      })
    }
    const statuses = new Map<number, number>()
    const client = { current: await RawClient.connect(port) }
    for (let count = 0; count < 300; count += 1) {
      const target = `/${count}`
      // The close and the request are on their way at the same moment.
      if (count % 3 !== 0) {
        for (const upstream of upstreams) {
          for (const socket of upstream.sockets) {
            if (count % 3 === 1) socket.end()
            else resetConnection(socket)
          }
        }
      }
      if (client.current.ended) client.current = await RawClient.connect(port)
      client.current.write(post(`/${name}${target}`, auth, 'pay'))
      const { status } = await client.current.answer()
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
      if (status === 200) assert.equal(ran.get(target), 1, `${target} ran ${ran.get(target)} times`)
      else assert.ok((ran.get(target) ?? 0) <= 1, `${target} ran twice`)
    }
    client.current.socket.destroy()
    t.diagnostic(JSON.stringify([...statuses]))
    assert.ok([...ran.values()].every((times) => times === 1))
    assert.ok((statuses.get(200) ?? 0) > 150, 'most come through')
  })

  test('retries have a budget: a service that fails altogether is not hit twice as often', async (t) => {
    const { name, upstreams } = await service(2)
    const held: Exchange[] = []
    let tried = 0
    let answered = 0
    for (const upstream of upstreams) {
      upstream.behave((arrived) => {
        tried += 1
        held.push(arrived)
      })
    }
    const requests = 200
    const answers = Array.from({ length: requests }, async () => {
      const answer = await exchange(port, get(`/${name}/x`, auth))
      answered += 1
      return answer
    })
    await until('all of them are there', () => held.length === requests)
    for (const arrived of held.splice(0)) reset(arrived)
    // Second tries are held as well, so that none of them makes room for another.
    await until('those without a second try are answered', () => answered + held.length >= requests)
    for (const upstream of upstreams) upstream.behave(say('', reset))
    for (const arrived of held.splice(0)) reset(arrived)
    for (const answer of await Promise.all(answers)) assertRefusal(answer, 502, 503)
    t.diagnostic(`${tried} tries for ${requests} requests`)
    // A fifth of what is under way, and what is begun before both are known to fail.
    assert.ok(tried <= requests * 1.5, `${tried} tries for ${requests} requests`)
  })

  test('an instance that fails again and again is left alone while its sibling serves', async () => {
    const { name, upstreams } = await service(2)
    const [bad, good] = upstreams
    assert.ok(bad && good)
    bad.behave(say('', reset))
    good.behave(answerWith('good'))
    for (let count = 0; count < 100; count += 1) {
      const answer = await exchange(port, get(`/${name}/x`, auth))
      assert.equal(answer.status, 200, 'no client sees the bad one')
    }
    assert.ok(bad.requests.length < 20, `the bad one got ${bad.requests.length} of 100`)
  })

  test('100 clients while instances are killed and replaced: 0 failures', async (t) => {
    const { result, killed } = await runGatewayLoad({
      house: door.house,
      service: 'load',
      clients: 100,
      durationMs: 2_000,
      killEveryMs: 500,
    })
    t.diagnostic(`${result.answered} answers, ${killed} killed`)
    assert.deepEqual(result.failures, {}, JSON.stringify(result.samples))
    assert.ok(killed >= 1, `${killed} killed`)
  })
}
