import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { test } from 'node:test'
import { ManualClock } from '../testing/manual-clock.ts'
import { problem, startScriptedServer } from '../testing/scripted-server.ts'
import { until } from '../testing/until.ts'
import { createClient, staticToken, type EventsOptions, type FeedMessage } from './index.ts'

const sse = { 'content-type': 'text/event-stream' }

function eventText(id: number, type = 'haus.config.changed'): string {
  const event = { specversion: '1.0', id: String(id), type, subject: 'services/orders', data: {} }
  return `id: ${id}\ndata: ${JSON.stringify(event)}\n\n`
}

/** Each connection is handed to the test; what the feed says is collected. */
async function openFeed(clock: ManualClock, options: EventsOptions = {}) {
  const connections: ServerResponse[] = []
  const server = await startScriptedServer((_asked, response) => {
    connections.push(response.writeHead(200, sse))
    response.flushHeaders()
  })
  const controller = new AbortController()
  const client = createClient({ url: server.url, tokens: staticToken('t'), clock, unit: () => 0.5 })
  const messages: FeedMessage[] = []
  const done = (async () => {
    for await (const message of client.events({ ...options, signal: controller.signal })) {
      messages.push(message)
    }
  })()
  void done.catch(() => {})
  const connection = async (number: number): Promise<ServerResponse> =>
    until(`connection ${number}`, () => {
      // Whatever the feed waits for, and never so long that silence would end it.
      if (clock.nextInMs !== undefined && clock.nextInMs <= 1_000) clock.advance(clock.nextInMs)
      return connections[number - 1]
    })
  return {
    server,
    messages,
    connections,
    connection,
    done,
    kinds: () => messages.map(({ kind }) => kind),
    async [Symbol.asyncDispose]() {
      controller.abort()
      await done.catch(() => {})
      await server.close()
    },
  }
}

test('events arrive whole, however the network cuts them, and with any line ends', async () => {
  await using feed = await openFeed(new ManualClock())
  const stream = await feed.connection(1)
  const text = `retry: 2000\n\n: still here\r\n\r\n${eventText(4).replaceAll('\n', '\r\n')}${eventText(5, 'haus.ä')}`
  for (const byte of Buffer.from(text)) {
    stream.write(Buffer.from([byte]))
    await new Promise((resolve) => setImmediate(resolve))
  }
  await until('two events', () => feed.messages.length === 3)
  assert.deepEqual(
    feed.messages.flatMap((message) =>
      message.kind === 'event' ? [[message.event.id, message.event.type]] : [],
    ),
    [
      ['4', 'haus.config.changed'],
      ['5', 'haus.ä'],
    ],
  )
})

test('after a break the feed goes on behind the last event it handed out', async () => {
  await using feed = await openFeed(new ManualClock(), { type: 'haus.', service: 'orders' })
  const first = await feed.connection(1)
  first.write(eventText(7))
  await until('the event', () => feed.messages.length === 2)
  first.destroy()
  const second = await feed.connection(2)
  second.write(eventText(8))
  await until('the next event', () => feed.kinds().at(-1) === 'event')
  assert.deepEqual(feed.kinds(), ['connected', 'event', 'disconnected', 'connected', 'event'])
  assert.deepEqual(
    feed.server.asked.map(({ path, headers }) => [path, headers['last-event-id']]),
    [
      ['/api/events?type=haus.&service=orders', undefined],
      ['/api/events?type=haus.&service=orders', '7'],
    ],
  )
})

test('a feed that breaks before its first event goes on from where the house began it', async () => {
  await using feed = await openFeed(new ManualClock(), { type: 'haus.key.' })
  const first = await feed.connection(1)
  first.end('retry: 2000\nid: 4\n\n')
  const second = await feed.connection(2)
  second.end('retry: 2000\nid: 4\n\n: still here\nid: 9\n\n')
  const third = await feed.connection(3)
  third.write(`retry: 2000\nid: 9\n\n${eventText(10, 'haus.key.created')}`)
  await until('the event', () => feed.kinds().at(-1) === 'event')
  assert.deepEqual(
    feed.server.asked.map(({ headers }) => headers['last-event-id']),
    [undefined, '4', '9'],
  )
  // A place alone is nothing that happened.
  assert.equal(feed.kinds().filter((kind) => kind === 'event').length, 1)
})

test('a place that is no longer kept is a reset, and the feed goes on from there', async () => {
  await using feed = await openFeed(new ManualClock(), { lastEventId: '3' })
  const first = await feed.connection(1)
  first.write('event: reset\nid: 900\ndata: {"reason":"gone","index":900}\n\n')
  await until('the reset', () => feed.messages.length === 2)
  assert.deepEqual(feed.messages[1], { kind: 'reset', index: 900 })
  first.end()
  await feed.connection(2)
  assert.deepEqual(
    feed.server.asked.map(({ headers }) => headers['last-event-id']),
    ['3', '900'],
  )
})

test('a connection that has gone silent is given up after 45 s', async () => {
  const clock = new ManualClock()
  await using feed = await openFeed(clock)
  const first = await feed.connection(1)
  await until('the feed to listen', () => feed.messages.length === 1)
  const closed = once(first, 'close')
  await until('the silence to be noticed', () => {
    clock.advance(45_000)
    return feed.messages.length > 1
  })
  await closed
  const [, lost] = feed.messages
  assert.ok(lost?.kind === 'disconnected')
  assert.match(String(lost.error), /Nothing came for 45000 ms/)
})

test('while nobody is there it tries again within a second each time, and sooner at first', async () => {
  const clock = new ManualClock()
  await using feed = await openFeed(clock)
  await feed.connection(1)
  await feed.server.close()
  await until('ten tries', () => {
    if (clock.nextInMs !== undefined && clock.nextInMs <= 1_000) clock.advance(clock.nextInMs)
    return feed.messages.length > 10
  })
  const waits = feed.messages.flatMap((message) =>
    message.kind === 'disconnected' ? [message.retryInMs] : [],
  )
  assert.deepEqual(waits.slice(0, 6), [75, 150, 300, 600, 750, 750])
  await feed.server.open()
  await feed.connection(2)
})

test('a house that asks for patience gets it', async () => {
  const clock = new ManualClock()
  await using feed = await openFeed(clock)
  await feed.connection(1)
  feed.server.script = (_asked, response) =>
    problem(response, 503, 'overloaded', { headers: { 'retry-after': '10' } })
  feed.connections[0]?.destroy()
  await until('the refusal', () => {
    if (clock.nextInMs !== undefined && clock.nextInMs <= 1_000) clock.advance(clock.nextInMs)
    return feed.messages.some((m) => m.kind === 'disconnected' && m.retryInMs >= 10_000)
  })
})

test('a refusal that waiting does not mend ends the feed with it', async () => {
  const clock = new ManualClock()
  await using feed = await openFeed(clock)
  const first = await feed.connection(1)
  feed.server.script = (_asked, response) => problem(response, 403, 'forbidden')
  first.destroy()
  let ended: unknown
  feed.done.catch((error: unknown) => {
    ended = error
  })
  await until('the end', () => {
    if (clock.nextInMs !== undefined && clock.nextInMs <= 1_000) clock.advance(clock.nextInMs)
    return ended
  })
  await assert.rejects(feed.done, { code: 'forbidden' })
})

test('a reader that leaves closes the connection and leaves no timer', async () => {
  const clock = new ManualClock()
  await using server = await startScriptedServer((_asked, response) => {
    response.writeHead(200, sse).write(eventText(1))
    closed = once(response, 'close')
  })
  let closed: Promise<unknown> | undefined
  const client = createClient({ url: server.url, tokens: staticToken('t'), clock })
  for await (const message of client.events()) if (message.kind === 'event') break
  await closed
  assert.equal(clock.pending, 0)
})
