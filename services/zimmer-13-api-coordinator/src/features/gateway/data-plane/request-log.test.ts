import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RequestLog, type RequestRecord } from './request-log.ts'

const record: RequestRecord = {
  method: 'GET',
  path: '/orders',
  host: 'haus.localhost',
  route: null,
  service: 'orders',
  instance: 'an-instance',
  caller: 'visitor',
  status: 200,
  source: 'upstream',
  code: null,
  requestBytes: 0,
  answerBytes: 5,
  durationMs: 1.239,
  firstByteMs: 1,
  retries: 0,
  requestId: 'an-id',
  traceId: 'a-trace',
}

test('a record is one line of JSON in the form of the log', () => {
  const batches: string[] = []
  const log = new RequestLog((lines) => void batches.push(lines))
  log.add(record, Date.parse('2026-11-25T12:00:00.007Z'))
  log.add({ ...record, path: '/a"b\n', retries: 1 }, Date.parse('2026-11-25T12:00:01.500Z'))
  log.flush()
  const lines = (batches[0] ?? '')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.equal(lines.length, 2)
  assert.deepEqual(lines[0], {
    level: 'info',
    time: '2026-11-25T12:00:00.007Z',
    name: 'zimmer-13',
    gateway: 'request',
    method: 'GET',
    host: 'haus.localhost',
    path: '/orders',
    status: 200,
    source: 'upstream',
    service: 'orders',
    instance: 'an-instance',
    caller: 'visitor',
    requestBytes: 0,
    answerBytes: 5,
    durationMs: 1.24,
    firstByteMs: 1,
    requestId: 'an-id',
    traceId: 'a-trace',
    msg: 'a request went through the gateway',
  })
  assert.equal(lines[1].path, '/a"b\n')
  assert.equal(lines[1].retries, 1)
})

test('when nobody writes them lines are lost and counted, and come again when somebody does', () => {
  let batches = 0
  let chars = 0
  const log = new RequestLog((lines) => {
    batches += 1
    chars += lines.length
  })
  for (let count = 0; count < 20_000; count++) log.add(record, 0)
  log.flush()
  assert.ok(log.lost > 1_000)
  assert.ok(chars < 4.2 * 1024 * 1024)
  log.written(chars)
  const { lost } = log
  const before = batches
  log.add(record, 0)
  log.flush()
  assert.equal(log.lost, lost)
  assert.equal(batches, before + 1)
})
