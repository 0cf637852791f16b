/**
 * The examples of the catalogue, which are those of the API page, run against a real house in
 * their order. What the house makes itself (ids, secrets, times) is learned from its answers and
 * stands in for the example's value in every later request.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { catalogue, example as exampleValues } from '@haus/contract'
import type { Operation } from '@haus/contract'
import { loadConfig } from './config/load.ts'
import { createHaus } from './haus.ts'
import { createValidation } from './platform/http/validation.ts'
import { createLog } from './platform/log/log.ts'
import { untilAnswered } from './testing/until.ts'
import { Writable } from 'node:stream'

/** The orders service of the examples listens here; a test may only have a port that is free. */
const examplePort = 3000
const madeByTheHouse = new Set<unknown>(Object.values(exampleValues))

test('every example of the catalogue does what it shows, in order, on a new house', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'haus-examples-'))
  const orders = createServer((_request, response) => response.end('up'))
  orders.listen(0, '127.0.0.1')
  await once(orders, 'listening')
  const lines: string[] = []
  const haus = createHaus(
    loadConfig({
      env: {
        HAUS_DATA_DIR: folder,
        HAUS_API_ADDR: '127.0.0.1:0',
        HAUS_GATEWAY_ADDR: '127.0.0.1:0',
      },
      cwd: folder,
    }),
    {
      log: createLog({
        level: 'warn',
        destination: new Writable({
          write(chunk: Buffer, _encoding, done) {
            lines.push(chunk.toString())
            done()
          },
        }),
      }),
      version: '0.1.0',
      hostName: 'localhost',
      process: {
        memoryBytes: () => process.memoryUsage.rss(),
        openFiles: () => null,
        logLinesLost: () => 0,
      },
      onFatal: (error) => assert.fail(error),
    },
  )
  try {
    const { api, operatorTokenFile } = await haus.start()
    const operatorToken = (await readFile(operatorTokenFile, 'utf8')).trim()
    const { port } = orders.address() as AddressInfo
    const learned = new Map<unknown, unknown>([[examplePort, port]])
    const compile = createValidation()

    for (const operation of catalogue) {
      await t.test(operation.id, async () => {
        const { example } = operation
        assert.ok(example, 'every operation has an example')
        const token = { operator: operatorToken, service: learned.get(exampleValues.serviceToken) }
        const as = example.as ?? 'operator'
        const ask = (): Promise<Response> =>
          fetch(api + targetOf(operation, learned), {
            method: operation.method,
            headers: {
              ...example.headers,
              ...(as !== 'nobody' && { authorization: `Bearer ${String(token[as])}` }),
              ...(example.body !== undefined && { 'content-type': 'application/json' }),
            },
            ...(example.body !== undefined && {
              body: JSON.stringify(replaced(example.body, learned)),
            }),
            signal: AbortSignal.timeout(15_000),
          })
        const response = await untilAnswered(operation.id, ask)
        const declared = operation.answers[example.status]
        assert.ok(declared, 'the example shows an answer that is declared')
        if (declared.contentType === 'text/event-stream') {
          await response.body?.cancel()
          assert.equal(response.status, example.status)
          return
        }
        const text = await response.text()
        assert.equal(response.status, example.status, text)
        if (operation.passesThrough !== true) {
          assert.equal(
            response.headers.get('content-type'),
            text === '' ? null : (declared.contentType ?? 'application/json'),
          )
        }
        for (const name of Object.keys(declared.headers ?? {})) {
          assert.ok(response.headers.has(name), `the header ${name}`)
        }
        if (declared.schema === undefined) return
        const answer: unknown = JSON.parse(text)
        compile(declared.schema, 'body')(answer)
        if (example.answer !== undefined) compare(example.answer, answer, '', learned)
      })
    }
    assert.deepEqual(lines, [], 'the house had nothing to complain about')
  } finally {
    await haus.stop(5_000)
    orders.close()
    rmSync(folder, { recursive: true, force: true })
  }
})

function targetOf(operation: Operation, learned: ReadonlyMap<unknown, unknown>): string {
  const { params = {}, query } = operation.example ?? {}
  const target = operation.path.replaceAll(/\{(\w+)\}/g, (_all, name: string) =>
    encodeURIComponent(String(replaced(params[name], learned))),
  )
  return query === undefined ? target : `${target}?${new URLSearchParams(query).toString()}`
}

function replaced(value: unknown, learned: ReadonlyMap<unknown, unknown>): unknown {
  if (Array.isArray(value)) return value.map((item) => replaced(item, learned))
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, replaced(item, learned)]),
    )
  }
  return learned.get(value) ?? value
}

/** The same keys at every depth; lists have items where the example has. Learns what the house made. */
function compare(
  shown: unknown,
  real: unknown,
  place: string,
  learned: Map<unknown, unknown>,
): void {
  if (Array.isArray(shown)) {
    assert.ok(Array.isArray(real), `${place} is a list`)
    if (shown.length > 0) assert.ok(real.length > 0, `${place} has items`)
    for (const [index, item] of shown.entries()) {
      if (index < real.length) compare(item, real[index], `${place}/${index}`, learned)
    }
  } else if (typeof shown === 'object' && shown !== null) {
    assert.ok(typeof real === 'object' && real !== null, `${place} is an object`)
    assert.deepEqual(
      Object.keys(real).toSorted(),
      Object.keys(shown).toSorted(),
      `keys of ${place}`,
    )
    const parts = new Map(Object.entries(real))
    for (const [key, item] of Object.entries(shown)) {
      compare(item, parts.get(key), `${place}/${key}`, learned)
    }
  } else if (madeByTheHouse.has(shown)) {
    learned.set(shown, real)
  } else if (shown !== null && real !== null) {
    assert.equal(typeof real, typeof shown, place)
  }
}
