/**
 * What a request through the gateway costs in CPU time, beside nginx, HAProxy and
 * `@fastify/http-proxy`, in one run on one machine.
 *
 * All pass the same 1 KiB answer of the same upstream to `wrk -c100`. Ours does what it always
 * does: it checks a token, balances over two instances, keeps breakers, counts metrics and logs
 * the request; its time is that of the whole house, threads and embedded database included. The
 * others check nothing and log nothing; nginx and HAProxy balance over the same two addresses.
 *
 * They take turns in short runs, so that a machine that slows down does so for all of them. With
 * two cores or more, the one under test has a core of its own; wrk, the upstream and this process,
 * which reads the log of the house, share another.
 */
import { execFile } from 'node:child_process'
import os from 'node:os'
import { promisify } from 'node:util'
import { createIdentity, requestToken } from '../../e2e/client.ts'
import { freePort } from '../../e2e/free-port.ts'
import { until } from '../../services/zimmer-13-api-coordinator/src/testing/until.ts'
import { HouseUnderTest } from '../house-under-test.ts'
import { cpuMsOf } from '../process-usage.ts'
import { startFastifyHttpProxy } from '../proxies/fastify-http-proxy.ts'
import {
  haproxyVersion,
  nginxVersion,
  startHaproxy,
  startNginxProxy,
  startNginxUpstream,
  versionOf,
  type RunningProxy,
} from '../proxies/system-proxies.ts'
import { startReferenceServer } from '../reference-server.ts'
import { median, type BenchContext, type Figure, type Outcome, type Scenario } from '../scenario.ts'
import { runWrk, type WrkRun } from '../wrk.ts'

const connections = 100
const body = 'x'.repeat(1024)
const rounds = 5
/** Below some 50,000 requests a part of the path still runs in code that is not optimised. */
const warmUpSeconds = 5
const ours = 'Haus'
const theirs = '@fastify/http-proxy'
const atMostRatio = 0.7

export const gateway: Scenario = {
  name: 'gateway',
  summary: 'CPU time per request beside nginx, HAProxy and @fastify/http-proxy, wrk -c100, 1 KiB',
  run,
}

interface Contestant {
  readonly name: string
  readonly version: string
  readonly pid: number
  readonly url: string
  readonly headers: readonly string[]
}

interface Run extends WrkRun {
  readonly cpuUs: number
  /** Of one core, while it ran. */
  readonly busy: number
}

async function run({ seconds, progress }: BenchContext): Promise<Outcome> {
  const wrk = versionOf('wrk', '-v')
  if (wrk === null) {
    throw new Error('The gateway scenario needs wrk (Debian: apt-get install wrk).')
  }
  const missing: string[] = []
  progress('starting everybody')
  await using stack = new AsyncDisposableStack()
  const cores = placesOf()
  const { ports: upstreams, pid } = await startUpstream(stack)
  await pin(pid, cores.others)
  await pin(process.pid, cores.others)

  const contestants: Contestant[] = [await startOurs(stack, upstreams)]
  const proxies: RunningProxy[] = [stack.use(await startFastifyHttpProxy(upstreams[0] ?? 0))]
  if (nginxVersion() === null) missing.push('nginx')
  else proxies.push(stack.use(await startNginxProxy(await freePort(), upstreams)))
  if (haproxyVersion() === null) missing.push('HAProxy')
  else proxies.push(stack.use(await startHaproxy(await freePort(), upstreams)))
  for (const proxy of proxies) {
    const url = `http://127.0.0.1:${proxy.port}/x`
    contestants.push({ ...proxy, url, headers: [] })
  }
  for (const name of missing) progress(`${name} is not installed and not measured`)
  for (const contestant of contestants) await pin(contestant.pid, cores.underTest)

  const measure = async (contestant: Contestant, forSeconds: number): Promise<Run> => {
    const { url, headers } = contestant
    const cpuBefore = cpuMsOf([contestant.pid])
    const startedMs = performance.now()
    const result = await runWrk({
      url,
      headers,
      connections,
      seconds: forSeconds,
      core: cores.others,
    })
    const cpuMs = cpuMsOf([contestant.pid]) - cpuBefore
    return {
      ...result,
      cpuUs: (cpuMs * 1000) / result.requests,
      busy: cpuMs / (performance.now() - startedMs),
    }
  }
  for (const contestant of contestants) {
    progress(`warming up ${contestant.name}`)
    await measure(contestant, warmUpSeconds)
  }
  const runs = new Map<string, Run[]>(contestants.map(({ name }) => [name, []]))
  const each = Math.max(1, Math.round(seconds / rounds))
  for (let round = 1; round <= rounds; round += 1) {
    for (const contestant of contestants) {
      progress(`round ${round} of ${rounds}: ${contestant.name}`)
      runs.get(contestant.name)?.push(await measure(contestant, each))
    }
  }

  const of = (name: string, key: keyof Run): number =>
    median((runs.get(name) ?? []).map((one) => one[key]))
  const ratioTo = (name: string): number => of(ours, 'cpuUs') / of(name, 'cpuUs')
  const figures = contestants.flatMap(({ name, version }): Figure[] => {
    const group = name === ours ? `${name} (whole process, as shipped)` : `${name} ${version}`
    return [
      { group, name: 'CPU per request', value: of(name, 'cpuUs'), unit: 'µs' },
      { group, name: 'requests', value: of(name, 'perSecond'), unit: '/s' },
      { group, name: 'p50', value: of(name, 'p50Ms'), unit: 'ms' },
      { group, name: 'p99', value: of(name, 'p99Ms'), unit: 'ms' },
      { group, name: 'share of a core', value: of(name, 'busy'), unit: '' },
    ]
  })
  const ratios = contestants
    .filter(({ name }) => name !== ours)
    .map(({ name }) => ({
      group: 'CPU per request, ours to',
      name,
      value: ratioTo(name),
      unit: '',
    }))
  const failed = [...runs.values()].flat().reduce((sum, one) => sum + one.failed, 0)
  return {
    figures: [...figures, ...ratios],
    bars: [
      {
        name: `CPU per request to ${theirs}`,
        value: ratioTo(theirs),
        unit: '',
        atMost: atMostRatio,
      },
      { name: 'failed requests', value: failed, unit: '', atMost: 0 },
    ],
    details: {
      wrk,
      connections,
      bodyBytes: body.length,
      cores,
      missing,
      upstreams: upstreams.length,
      oursIncludes: 'token check, balancing, breakers, request log, metrics, the rest of the house',
      versions: Object.fromEntries(contestants.map(({ name, version }) => [name, version])),
      runs: Object.fromEntries(runs),
    },
  }
}

/** nginx where there is one: an upstream that is no part of the figures should be a cheap one. */
async function startUpstream(
  stack: AsyncDisposableStack,
): Promise<{ readonly ports: readonly number[]; readonly pid: number }> {
  if (nginxVersion() !== null) {
    const ports = [await freePort(), await freePort()]
    const { pid } = stack.use(await startNginxUpstream(ports, body))
    return { ports, pid }
  }
  const headers = { 'content-type': 'text/plain' }
  const { port, pid } = stack.use(await startReferenceServer({ headers, body }))
  return { ports: [port], pid }
}

async function startOurs(
  stack: AsyncDisposableStack,
  upstreams: readonly number[],
): Promise<Contestant> {
  const { house } = stack.use(
    // As shipped: at this level it logs every request.
    await HouseUnderTest.start('embedded', { HAUS_LOG_LEVEL: 'info' }),
  )
  const url = house.endpoints['gateway']
  if (url === undefined) throw new Error('The house opened no gateway')
  for (const port of upstreams) {
    await house.operator.expectSoon(201, 'POST', '/api/services/register', {
      name: 'bench',
      version: '1.0.0',
      address: '127.0.0.1',
      port,
    })
  }
  const { clientId, clientSecret } = await createIdentity(house.operator, 'visitor')
  const token = await requestToken(house.url, { clientId, clientSecret }, 'haus-gateway')
  await until('the gateway serves', async () => {
    const answer = await fetch(`${url}/bench/x`, { headers: { 'haus-token': token } })
    return (await answer.text()) === body
  })
  return {
    name: ours,
    version: '',
    pid: house.pid,
    url: `${url}/bench/x`,
    headers: [`Haus-Token: ${token}`],
  }
}

interface Places {
  readonly underTest: number | null
  readonly others: number | null
}

function placesOf(): Places {
  const enough = os.availableParallelism() >= 2 && versionOf('taskset', '--version') !== null
  return enough ? { underTest: 0, others: 1 } : { underTest: null, others: null }
}

/** All threads of a process, onto one core. */
async function pin(pid: number, core: number | null): Promise<void> {
  if (core === null) return
  await promisify(execFile)('taskset', ['-a', '-c', '-p', String(core), String(pid)])
}
