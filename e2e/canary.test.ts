/**
 * Secrets with a mark go through the whole house, rightly and wrongly, and the mark is looked for
 * in everything that leaves it: logs at their most talkative, answers, errors, metrics, events,
 * audit, the API's description, the process list, and the files on disk.
 */
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { once } from 'node:events'
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { requestToken, type Answer, type HouseClient } from './client.ts'
import { startHouse, temporaryFolder, type House } from './harness.ts'

const mark = 'canary-b1f4c0ffee'
const second = 'canary-5ec0nd-v4lue'

/** The ways in which bytes hide: as they are, in base64 at each offset, in hex. */
function disguisesOf(secret: string): string[] {
  const base64 = [0, 1, 2].map((offset) => {
    const text = Buffer.from(`${'x'.repeat(offset)}${secret}`).toString('base64url')
    // Without the ends, which share their bits with neighbours.
    return text.slice(offset === 0 ? 0 : 4, -4)
  })
  return [secret, ...base64, Buffer.from(secret).toString('hex')]
}

function assertAbsent(where: string, text: string, secrets: readonly string[]): void {
  for (const secret of secrets) {
    for (const disguise of disguisesOf(secret)) {
      const at = text.indexOf(disguise)
      const around = text.slice(Math.max(0, at - 80), at + 20)
      assert.ok(at === -1, `a secret shows in ${where}: …${around}…`)
    }
  }
}

async function eventsSoFar(house: House): Promise<string> {
  const { body } = await house.operator.expect(200, 'GET', '/api/health')
  const request = http.get(`${house.url}/api/events`, {
    headers: { authorization: `Bearer ${house.operatorToken}`, 'last-event-id': '0' },
  })
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  let text = ''
  for await (const part of response.setEncoding('utf8')) {
    text += String(part)
    if (new RegExp(`^id: ?${body.index}$`, 'm').test(text)) break
  }
  request.destroy()
  return text
}

async function auditSoFar(operator: HouseClient): Promise<string> {
  let text = ''
  let cursor: string | null = null
  do {
    const query: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`
    const answer: Answer = await operator.expect(200, 'GET', `/api/audit?limit=1000${query}`)
    text += answer.text
    cursor = answer.body.nextCursor
  } while (cursor !== null)
  return text
}

/** Requests that are wrong in ways that tempt a server to repeat them. */
function temptations(
  id: string,
): readonly [string, string, Parameters<HouseClient['request']>[2]][] {
  const json = { 'content-type': 'application/json' }
  return [
    ['POST', '/api/credentials/create', { body: { name: 'wrong', data: { key: mark, other: 5 } } }],
    ['POST', '/api/credentials/create', { body: { name: 'wrong', data: mark } }],
    ['POST', '/api/credentials/create', { body: { name: 'wrong', data: {}, password: mark } }],
    ['POST', '/api/credentials/create', { raw: `{"data":"${mark}"`, headers: json }],
    ['POST', '/api/credentials/create', { raw: `{"a":"${mark}","a":1}`, headers: json }],
    ['POST', '/api/credentials/create', { raw: mark, headers: { 'content-type': 'text/plain' } }],
    ['POST', `/api/credentials/${id}`, { body: { data: { key: mark }, cas: 99 } }],
    ['PUT', `/api/credentials/${id}`, { body: { data: { key: `${mark}${'x'.repeat(70_000)}` } } }],
    ['POST', '/api/auth/token', { body: { grant_type: mark, client_secret: mark } }],
    [
      'POST',
      '/api/auth/token',
      { body: { grant_type: 'client_credentials', client_id: id, client_secret: mark } },
    ],
    ['GET', '/api/services', { headers: { authorization: `Bearer ${mark}` } }],
    ['GET', '/api/services', { headers: { authorization: `Basic ${mark}` } }],
    ['GET', `/api/services?token=${mark}`, {}],
    ['GET', `/api/discover?service=orders&token=${mark}`, {}],
  ]
}

test('a secret never shows anywhere but in the answer that is meant to carry it', async (t) => {
  const dataDir = temporaryFolder()
  t.after(() => fs.rmSync(dataDir, { recursive: true, force: true }))
  await using house = await startHouse({ dataDir, env: { HAUS_LOG_LEVEL: 'debug' } })
  const { operator } = house
  const outputs: [string, string][] = []
  const keep = (what: string, answer: Answer): Answer => {
    outputs.push([what, `${JSON.stringify(answer.headers)}${answer.text}`])
    return answer
  }

  // Rightly.
  const created = keep(
    'the answer to create',
    await operator.expectSoon(201, 'POST', '/api/credentials/create', {
      name: 'orders-database',
      data: { password: mark },
      services: ['orders'],
    }),
  )
  const { id } = created.body
  const key = await operator.expectSoon(201, 'POST', '/api/services/orders/keys')
  const { clientId, clientSecret } = key.body
  const token = await requestToken(house.url, { clientId, clientSecret })
  const service = house.as(token)
  const path_ = `/api/credentials/${id}`
  const versioned = await operator.expectSoon(201, 'POST', path_, { data: { password: second } })
  keep('the answer to a new version', versioned)
  keep('the list', await operator.expect(200, 'GET', '/api/credentials'))
  keep('the metadata', await operator.expect(200, 'GET', path_))
  keep('the list of keys', await operator.expect(200, 'GET', '/api/services/orders/keys'))
  const read = await service.expectSoon(200, 'GET', '/api/credentials/service/orders')
  assert.equal(read.body.credentials['orders-database'].data.password, second)
  const revealed = await operator.expectSoon(200, 'POST', `${path_}/reveal?version=1`)
  assert.equal(revealed.body.data.password, mark)
  await service.expectSoon(201, 'POST', '/api/services/register', {
    name: 'orders',
    version: '1.0.0',
    port: 9,
  })
  keep('discovery', await service.expect(200, 'GET', '/api/discover?service=orders'))
  keep('the service', await operator.expect(200, 'GET', '/api/services/orders'))

  // Wrongly.
  for (const [method, where, options] of temptations(id)) {
    const answer = keep(`the refusal of ${method} ${where.split('?')[0]}`, {
      ...(await operator.request(method, where, options)),
    })
    assert.ok(answer.status >= 400 && answer.status < 500, `${where}: ${answer.text}`)
  }
  keep('another service', await service.request('GET', '/api/credentials/service/other'))

  // What tells of it all.
  outputs.push(['the events', await eventsSoFar(house)])
  outputs.push(['the audit', await auditSoFar(operator)])
  for (const page of ['/metrics', '/openapi.json', '/docs', '/api/health/system']) {
    keep(page, await operator.expect(200, 'GET', page))
  }
  const proc = `/proc/${house.pid}`
  outputs.push(['the command line', fs.readFileSync(`${proc}/cmdline`, 'latin1')])
  outputs.push(['the environment', fs.readFileSync(`${proc}/environ`, 'latin1')])
  const ended = await house.stop()
  assert.ok(ended.stdout.includes('"level":"info"'), 'there is a log to look at')
  outputs.push(['standard output', ended.stdout], ['standard error', ended.stderr])

  const secrets = [mark, second, clientSecret, token, house.operatorToken]
  for (const [what, text] of outputs) {
    // An address of a request is its sender's; only what the house says itself is judged.
    assertAbsent(what, text, secrets)
  }
  const rootKey = fs.readFileSync(path.join(dataDir, 'root.key'), 'latin1').trim()
  const inDatabase = fs
    .readdirSync(path.join(dataDir, 'database'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
  assert.ok(inDatabase.length > 100)
  for (const entry of inDatabase) {
    const text = fs.readFileSync(path.join(entry.parentPath, entry.name), 'latin1')
    assertAbsent(`database/${entry.name}`, text, [mark, second, clientSecret, token, rootKey])
  }
})
