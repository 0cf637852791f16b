/** The image's health check, as the container engine runs it: a program with an exit code. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { createServer as createTlsServer } from 'node:https'
import { createServer, type Server } from 'node:net'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { testCertificate } from '../services/zimmer-13-api-coordinator/src/testing/certificate.ts'
import { repositoryRoot, startHouse, temporaryFolder } from './harness.ts'

const program = path.join(repositoryRoot, 'services/zimmer-13-api-coordinator/health-check.ts')

function check(dataDir: string): Promise<{ exitCode: number; stderr: string }> {
  const env = { ...process.env, HAUS_DATA_DIR: dataDir }
  return new Promise((resolve) => {
    execFile(process.execPath, [program], { env, timeout: 30_000 }, (error, _stdout, stderr) => {
      resolve({ exitCode: error === null ? 0 : Number(error.code), stderr })
    })
  })
}

test('an open house is healthy, a closed one is not', async () => {
  await using house = await startHouse()
  assert.deepEqual(await check(house.dataDir), { exitCode: 0, stderr: '' })
  await house.stop()
  const { exitCode, stderr } = await check(house.dataDir)
  assert.equal(exitCode, 1)
  assert.match(stderr, /^not ready: .*endpoints\.json/)
})

/** Stands where a house would: behind its `endpoints.json`. */
async function standIn(t: TestContext, scheme: 'http' | 'https', server: Server): Promise<string> {
  const dataDir = temporaryFolder()
  t.after(() => {
    server.close()
    rmSync(dataDir, { recursive: true, force: true })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  const api = `${scheme}://127.0.0.1:${port}`
  writeFileSync(path.join(dataDir, 'endpoints.json'), JSON.stringify({ api }))
  return dataDir
}

test('a house with TLS is asked by TLS, whatever names its certificate has', async (t) => {
  const answer = { status: 200 }
  const server = createTlsServer(testCertificate, (request, response) => {
    response.writeHead(request.url === '/health/ready' ? answer.status : 404).end('{}')
  })
  const dataDir = await standIn(t, 'https', server)
  assert.deepEqual(await check(dataDir), { exitCode: 0, stderr: '' })
  answer.status = 503
  assert.deepEqual(await check(dataDir), {
    exitCode: 1,
    stderr: 'not ready: /health/ready answered 503\n',
  })
})

test('a house that takes the connection and never answers is not healthy', async (t) => {
  const silent = createServer(() => {})
  const { exitCode, stderr } = await check(await standIn(t, 'http', silent))
  assert.equal(exitCode, 1)
  assert.match(stderr, /^not ready: .*(timeout|aborted)/i)
})
