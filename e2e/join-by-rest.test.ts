/** The companion script of the guide "Joining by REST", run beside a real house. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { test } from 'node:test'
import { until } from '../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { repositoryRoot, startHouse, temporaryFolder, type House } from './harness.ts'

function scriptOfGuide(): string {
  const page = readFileSync(path.join(repositoryRoot, 'docs/guides/join-by-rest.md'), 'utf8')
  const [, script] = /^```bash\n([^]*?)^```$/m.exec(page) ?? []
  if (script === undefined) throw new Error('The guide has no bash block')
  return script
}

/** 503 says that the machine is too busy for the promise of 250 ms; trying again is what it asks for. */
async function write(house: House, method: string, target: string, body?: unknown) {
  for (;;) {
    const answer = await house.operator.request(method, target, { body })
    if (answer.status !== 503) return answer
  }
}

test('the script of the guide joins, follows a new version, and leaves', async (t) => {
  const folder = temporaryFolder()
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  await using house = await startHouse()
  const { body: key } = await write(house, 'POST', '/api/services/orders/keys')
  await write(house, 'POST', '/api/credentials/create', {
    name: 'orders-database',
    data: { password: 'one "quoted", two' },
    services: ['orders'],
  })
  const { body: list } = await house.operator.expect(200, 'GET', '/api/credentials')
  const credentialId: string = list.items[0].id

  const listener = createServer((socket) => socket.destroy())
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  t.after(() => listener.close())
  const address = listener.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0

  const file = (name: string): string => path.join(folder, name)
  writeFileSync(file('join.sh'), scriptOfGuide())
  // As an editor leaves it, with a line break at the end.
  writeFileSync(file('secret'), `${key.clientSecret}\n`, { mode: 0o600 })
  const child = spawn('bash', [file('join.sh')], {
    env: {
      PATH: process.env['PATH'],
      TMPDIR: folder,
      HAUS_URL: house.url,
      HAUS_CLIENT_ID: key.clientId,
      HAUS_CLIENT_SECRET_FILE: file('secret'),
      SERVICE: 'orders',
      PORT: String(port),
      CREDENTIALS_FILE: file('credentials.json'),
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  t.after(() => child.kill('SIGKILL'))
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
  const passwordInFile = (): unknown =>
    existsSync(file('credentials.json'))
      ? JSON.parse(readFileSync(file('credentials.json'), 'utf8')).credentials['orders-database']
          .data.password
      : undefined

  await until(`the credentials (${said})`, () => passwordInFile() === 'one "quoted", two')
  const { body: found } = await house.operator.expect(200, 'GET', '/api/discover?service=orders')
  assert.equal(found.port, port)

  const renewed = { data: { password: 'three' } }
  await write(house, 'POST', `/api/credentials/${credentialId}`, renewed)
  await until('the new version', () => passwordInFile() === 'three')

  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  assert.deepEqual(await ended, [0, null], said)
  const { body: service } = await house.operator.expect(200, 'GET', '/api/services/orders')
  assert.deepEqual(service.instances, [])
  assert.ok(!said.includes(key.clientSecret))
})
