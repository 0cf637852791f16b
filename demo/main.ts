/**
 * `npm run demo`: the main job, shown end to end with real programs in a temporary house.
 *
 * It ends with 1 when any step fails, and leaves nothing behind: every process it started ends with
 * it, and its folder is deleted.
 */
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { openHouse } from './house.ts'
import { createStage, StepFailed } from './stage.ts'
import { tellStory } from './story.ts'

const usage = `Usage: npm run demo -- [options]

  --clients N   how many at once while an instance is killed (100)
  --seconds N   for how long (20)
  --busy        the machine has other work: promises of a second get ten
  --json        the steps as JSON, for programs
  --help        show this

Ends with 1 when a step fails.
`

interface Chosen {
  readonly clients: number
  readonly seconds: number
  readonly promiseMs: number
  readonly json: boolean
}

const promiseMs = 1_000
const promiseOnBusyMs = 10_000
/** Of the services' life without the coordinator. */
const awaySeconds = 3

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
process.exitCode = await main()

async function main(): Promise<number> {
  let chosen: Chosen | 'help'
  try {
    chosen = readArguments()
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`)
    return 2
  }
  if (chosen === 'help') {
    process.stdout.write(usage)
    return 0
  }
  const { clients, seconds: loadSeconds, json, ...promise } = chosen
  const folder = fs.mkdtempSync(path.join(tmpdir(), 'haus-demo-'))
  // Also when a signal ends the demo in the middle.
  process.once('exit', () => fs.rmSync(folder, { recursive: true, force: true }))
  const stage = createStage(process.stdout, json)
  const startedMs = performance.now()
  let failed = false
  try {
    await tellStory(stage, () => openHouse(path.join(folder, 'house')), {
      folder,
      clients,
      loadSeconds,
      awaySeconds,
      ...promise,
    })
  } catch (error) {
    // What is not a step's is the demo's own fault, and its stack is what helps.
    if (!(error instanceof StepFailed)) process.stderr.write(`${(error as Error).stack}\n`)
    failed = true
  }
  const seconds = (performance.now() - startedMs) / 1_000
  if (json) {
    process.stdout.write(`${JSON.stringify({ passed: !failed, seconds, steps: stage.told })}\n`)
  } else {
    const count = `${stage.told.length} steps`
    const how = failed ? 'the last one failed' : 'all passed'
    process.stdout.write(`\n${count}, ${how}, ${seconds.toFixed(1)} s\n`)
  }
  return failed ? 1 : 0
}

/** @throws with one sentence about what is wrong with them. */
function readArguments(): Chosen | 'help' {
  const { values } = parseArgs({
    options: {
      clients: { type: 'string', default: '100' },
      seconds: { type: 'string', default: '20' },
      busy: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) return 'help'
  const clients = Number(values.clients)
  if (!(Number.isInteger(clients) && clients >= 1 && clients <= 1_000)) {
    throw new Error('--clients must be a whole number between 1 and 1000.')
  }
  const seconds = Number(values.seconds)
  if (!(seconds >= 1 && seconds <= 600)) throw new Error('--seconds must be between 1 and 600.')
  return {
    clients,
    seconds,
    promiseMs: values.busy ? promiseOnBusyMs : promiseMs,
    json: values.json,
  }
}
