/**
 * `npm run bench [scenario...]`: measures, prints, writes the results down with the machine they
 * were measured on, and ends with 1 when a bar is missed.
 */
import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { databaseKinds } from './house-under-test.ts'
import { describeMachine, describeRevision, measureDiskSyncsPerSecond } from './machine.ts'
import { createProgress } from './progress.ts'
import { isMet, type BenchContext, type Scenario } from './scenario.ts'
import { credentialReads } from './scenarios/credential-reads.ts'
import { discovery } from './scenarios/discovery.ts'
import { gateway } from './scenarios/gateway.ts'
import { memoryAndStart } from './scenarios/memory-and-start.ts'
import { monitor } from './scenarios/monitor.ts'
import { registrations } from './scenarios/registrations.ts'
import { tableOf } from './table.ts'

const scenarios: readonly Scenario[] = [
  discovery,
  registrations,
  credentialReads,
  monitor,
  gateway,
  memoryAndStart,
]
const defaultSeconds = 10
const secondsMax = 600
const root = path.resolve(import.meta.dirname, '..')
const resultsFolder = path.join(import.meta.dirname, 'results')

const usage = `Usage: npm run bench -- [scenario...] [options]

Scenarios (all of them by default):
${scenarios.map(({ name, summary }) => `  ${name.padEnd(18)}${summary}`).join('\n')}

Options:
  --seconds N       length of each main measurement (${defaultSeconds})
  --database KIND   embedded or postgres only (both)
  --json            print the results as JSON instead of a table
  --no-write        do not write bench/results/<date>-<scenario>.json
  --help            show this

Ends with 1 when a bar is missed. Figures are worth something on a machine that does nothing else.
`

// Ends the servers too: they are ended when this process exits.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
process.exitCode = await main()

interface Chosen {
  readonly scenarios: readonly Scenario[]
  readonly seconds: number
  readonly databases: BenchContext['databases']
  readonly json: boolean
  readonly write: boolean
}

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
  let missed = 0
  for (const scenario of chosen.scenarios) missed += await runOne(scenario, chosen)
  return missed === 0 ? 0 : 1
}

/** @throws with one sentence about what is wrong with them. */
function readArguments(): Chosen | 'help' {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    allowNegative: true,
    options: {
      seconds: { type: 'string', default: String(defaultSeconds) },
      database: { type: 'string' },
      json: { type: 'boolean', default: false },
      write: { type: 'boolean', default: true },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) return 'help'
  const seconds = Number(values.seconds)
  if (!(seconds > 0 && seconds <= secondsMax)) {
    throw new Error(`--seconds must be between 0 and ${secondsMax}.`)
  }
  const databases = databaseKinds.filter((kind) => (values.database ?? kind) === kind)
  if (databases.length === 0) throw new Error('--database must be embedded or postgres.')
  const unknown = positionals.find((name) => !scenarios.some((scenario) => scenario.name === name))
  if (unknown !== undefined) throw new Error(`There is no scenario "${unknown}".`)
  return {
    scenarios: scenarios.filter(
      ({ name }) => positionals.length === 0 || positionals.includes(name),
    ),
    seconds,
    databases,
    json: values.json,
    write: values.write,
  }
}

/** Returns the number of missed bars. */
async function runOne(scenario: Scenario, chosen: Chosen): Promise<number> {
  const { seconds, databases, json } = chosen
  const say = (text: string): void => {
    if (!json) process.stdout.write(text)
  }
  const progress = createProgress(process.stdout, json)
  const machine = describeMachine(root)
  const revision = await describeRevision(root)
  const fdatasyncPerSecond = Math.round(measureDiskSyncsPerSecond(1_000))
  const date = new Date().toISOString()
  say(`\n${scenario.name}: ${scenario.summary}\n`)
  const outcome = await scenario.run({ seconds, databases, progress })
  progress.clear()
  const bars = outcome.bars.map((bar) => ({ ...bar, met: isMet(bar) }))
  const results = {
    scenario: scenario.name,
    date,
    revision,
    machine: { ...machine, fdatasyncPerSecond },
    seconds,
    bars,
    figures: outcome.figures,
    details: outcome.details,
  }
  if (json) process.stdout.write(`${JSON.stringify(results, null, 2)}\n`)
  say(tableOf(outcome))
  if (chosen.write) {
    fs.mkdirSync(resultsFolder, { recursive: true })
    const file = path.join(resultsFolder, `${date.slice(0, 10)}-${scenario.name}.json`)
    fs.writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`)
    say(`\nwritten to ${path.relative(root, file)}\n`)
  }
  return bars.filter(({ met }) => !met).length
}
