/**
 * The coordinator's image, run as the guide says it should run. It needs a container engine and an
 * image, neither of which a test may fetch by itself: name one that is built.
 *
 *   scripts/image.sh build && HAUS_TEST_IMAGE=haus:0.1.0 npm test -- e2e/image.test.ts
 */
import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { test, type TestContext } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { createClient } from './client.ts'

/** A first start takes 2 s on two idle cores; an engine on a busy machine takes the rest. */
const healthyDeadlineMs = 90_000
const engineTimeoutMs = 60_000
const lookAgainAfterMs = 200
/** What the house promises. */
const stopDeadlineMs = 5_000
/** Engine and kernel take time too: tearing down the network and the mounts. */
const engineStopMs = 3_000

const image = process.env['HAUS_TEST_IMAGE'] ?? ''
const engine = image === '' ? '' : findEngine()
const needs = whatIsMissing()

function findEngine(): string {
  return ['docker', 'podman'].find((name) => spawnSync(name, ['info']).status === 0) ?? ''
}

function whatIsMissing(): { skip?: string } {
  if (image === '') return { skip: 'HAUS_TEST_IMAGE names no image: see scripts/image.sh' }
  if (engine === '') return { skip: 'neither docker nor podman answers here' }
  return {}
}

interface Output {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

function run(...args: string[]): Promise<Output> {
  return new Promise((resolve) => {
    execFile(engine, args, { timeout: engineTimeoutMs }, (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code
      const exitCode = typeof code === 'number' ? code : 1
      resolve({ exitCode, stdout: stdout.trim(), stderr: stderr.trim() })
    })
  })
}

async function must(...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await run(...args)
  if (exitCode !== 0) throw new Error(`${engine} ${args.join(' ')}: ${stderr}`)
  return stdout
}

/** What scripts/image.sh does, under a name and with a volume of the test's own. */
async function startContainer(t: TestContext, ...more: string[]): Promise<string> {
  const name = `haus-test-${process.pid}`
  t.after(async () => {
    await run('rm', '--force', '--volumes', name)
    await run('volume', 'rm', '--force', name)
  })
  await must(
    ...['run', '--detach', '--name', name, '--read-only', '--cap-drop', 'all'],
    ...(engine === 'podman' ? ['--read-only-tmpfs=false'] : []),
    ...['--security-opt', 'no-new-privileges', '--memory', '384m'],
    ...['--volume', `${name}:/data`, '--publish', '127.0.0.1::8000'],
    ...more,
    image,
  )
  return name
}

async function untilHealthy(name: string): Promise<void> {
  const startedMs = performance.now()
  while (!(await isHealthy(name))) {
    if (performance.now() - startedMs > healthyDeadlineMs) {
      throw new Error(`Not healthy after ${healthyDeadlineMs} ms:\n${await logs(name)}`)
    }
    await delay(lookAgainAfterMs)
  }
}

/** Podman checks on its own only where systemd runs, so it is asked to. */
async function isHealthy(name: string): Promise<boolean> {
  if (engine === 'podman') return (await run('healthcheck', 'run', name)).exitCode === 0
  return (await must('inspect', '--format', '{{.State.Health.Status}}', name)) === 'healthy'
}

async function logs(name: string): Promise<string> {
  const { stdout, stderr } = await run('logs', name)
  return `${stdout}\n${stderr}`
}

async function urlOf(name: string): Promise<string> {
  const [first = ''] = (await must('port', name, '8000/tcp')).split('\n')
  return `http://${first}`
}

test('without a decision about TLS the image refuses in one sentence', needs, async () => {
  const { exitCode, stderr } = await run('run', '--rm', image)
  assert.equal(exitCode, 78)
  assert.match(stderr, /^haus: .*HAUS_TLS_CERT_FILE.*HAUS_ALLOW_PLAINTEXT=true.*\.$/m)
})

test(
  'without capabilities, on a read-only root and in 384 MB it serves, keeps its data and stops',
  needs,
  async (t) => {
    const name = await startContainer(t, '--env', 'HAUS_ALLOW_PLAINTEXT=true')
    await untilHealthy(name)

    assert.equal(await must('exec', name, 'id', '-u'), '1000')
    for (const file of ['/haus/x', '/tmp/x', '/x']) {
      assert.notEqual((await run('exec', name, 'touch', file)).exitCode, 0, file)
    }
    const token = await must('exec', name, 'cat', '/data/operator.token')
    const before = createClient(await urlOf(name), token)
    const { body: key } = await before.expect(201, 'POST', '/api/services/orders/keys')

    const startedMs = performance.now()
    await must('stop', '-t', '10', name)
    assert.ok(performance.now() - startedMs < stopDeadlineMs + engineStopMs)
    assert.equal(await must('inspect', '--format', '{{.State.ExitCode}}', name), '0')
    assert.match(await logs(name), /"the house is closed"/)

    await must('start', name)
    await untilHealthy(name)
    const after = createClient(await urlOf(name), token)
    const { body: keys } = await after.expect(200, 'GET', '/api/services/orders/keys')
    assert.deepEqual(
      keys.items.map((item: { clientId: string }) => item.clientId),
      [key.clientId],
    )
  },
)
