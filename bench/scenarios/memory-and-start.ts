/**
 * `npm start` as it is typed: the time until `/health/ready` answers 200, and what the whole
 * process tree holds in memory 10 s later, on a new data folder and on one that exists.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { createClient } from '../../e2e/client.ts'
import { houseEnvironment, repositoryRoot, temporaryFolder } from '../../e2e/harness.ts'
import { memoryOf, processTree, type Memory } from '../process-usage.ts'
import { median, type BenchContext, type Outcome, type Scenario } from '../scenario.ts'

const restMs = 10_000
const warmStarts = 3
const readyDeadlineMs = 60_000
const stopDeadlineMs = 15_000
const warmStartAtMostS = 5
const memoryAtMostMb = 400
const stopAtMostS = 5

export const memoryAndStart: Scenario = {
  name: 'memory-and-start',
  summary: 'time to ready and memory of `npm start`, first and warm',
  run,
}

interface Start {
  readonly readyS: number
  readonly memory: Memory
  readonly stopS: number
  readonly exitCode: number | null
}

async function run({ progress }: BenchContext): Promise<Outcome> {
  const dataDir = temporaryFolder()
  try {
    progress('first start')
    const first = await startOnce(dataDir)
    const warm: Start[] = []
    for (let turn = 1; turn <= warmStarts; turn += 1) {
      progress(`warm start ${turn} of ${warmStarts}`)
      warm.push(await startOnce(dataDir))
    }
    const warmReadyS = median(warm.map(({ readyS }) => readyS))
    const warmRssMb = Math.max(...warm.map(({ memory }) => memory.rssMb))
    const starts = [first, ...warm]
    const slowestStopS = Math.max(...starts.map(({ stopS }) => stopS))
    const bad = starts.filter(({ exitCode }) => exitCode !== 0).length
    return {
      figures: [
        { group: 'first start', name: 'ready after', value: first.readyS, unit: 's' },
        {
          group: 'first start',
          name: 'RSS of the tree after 10 s',
          value: first.memory.rssMb,
          unit: 'MB',
        },
        {
          group: 'first start',
          name: 'PSS of the tree after 10 s',
          value: first.memory.pssMb,
          unit: 'MB',
        },
        { group: 'warm start', name: 'ready after, median', value: warmReadyS, unit: 's' },
        {
          group: 'warm start',
          name: 'RSS of the tree after 10 s, highest',
          value: warmRssMb,
          unit: 'MB',
        },
        {
          group: 'warm start',
          name: 'PSS of the tree after 10 s, highest',
          value: Math.max(...warm.map(({ memory }) => memory.pssMb)),
          unit: 'MB',
        },
        { group: 'stop', name: 'SIGTERM to the end, slowest', value: slowestStopS, unit: 's' },
      ],
      bars: [
        { name: 'warm start to ready', value: warmReadyS, unit: 's', atMost: warmStartAtMostS },
        {
          name: 'memory after a first start',
          value: first.memory.rssMb,
          unit: 'MB',
          atMost: memoryAtMostMb,
        },
        { name: 'memory after a warm start', value: warmRssMb, unit: 'MB', atMost: memoryAtMostMb },
        { name: 'SIGTERM to the end', value: slowestStopS, unit: 's', atMost: stopAtMostS },
        { name: 'ends with an exit code other than 0', value: bad, unit: '', atMost: 0 },
      ],
      details: { first, warm },
    }
  } finally {
    fs.rmSync(dataDir, { recursive: true, force: true })
  }
}

async function startOnce(dataDir: string): Promise<Start> {
  const endpointsFile = path.join(dataDir, 'endpoints.json')
  fs.rmSync(endpointsFile, { force: true })
  const startedMs = performance.now()
  // A group of its own: whatever is left of it is ended at the end.
  const child = spawn('npm', ['start'], {
    cwd: repositoryRoot,
    env: houseEnvironment({ dataDir }),
    stdio: ['ignore', 'ignore', 'inherit'],
    detached: true,
  })
  const { pid } = child
  if (pid === undefined) throw new Error('npm could not be started')
  const ended = once(child, 'exit')
  const killAll = (): void => {
    try {
      process.kill(-pid, 'SIGKILL')
    } catch {
      // It has ended by itself.
    }
  }
  process.once('exit', killAll)
  try {
    while (!(await isReady(endpointsFile))) {
      const waitedMs = performance.now() - startedMs
      if (waitedMs > readyDeadlineMs) throw new Error(`npm start is not ready after ${waitedMs} ms`)
      if (child.exitCode !== null) throw new Error(`npm start ended with ${child.exitCode}`)
      await delay(10)
    }
    const readyS = (performance.now() - startedMs) / 1000
    await delay(restMs)
    const memory = memoryOf(processTree(pid))
    const stoppingMs = performance.now()
    child.kill('SIGTERM')
    const timer = setTimeout(killAll, stopDeadlineMs)
    const [exitCode] = (await ended) as [number | null]
    clearTimeout(timer)
    return { readyS, memory, stopS: (performance.now() - stoppingMs) / 1000, exitCode }
  } finally {
    killAll()
    process.off('exit', killAll)
  }
}

async function isReady(endpointsFile: string): Promise<boolean> {
  try {
    const { api }: { api: string } = JSON.parse(fs.readFileSync(endpointsFile, 'utf8'))
    const answer = await createClient(api, undefined).get('/health/ready', { timeoutMs: 1_000 })
    return answer.status === 200
  } catch {
    return false
  }
}
