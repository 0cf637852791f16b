/**
 * The process: arguments, environment, signals, exit codes. The only module that touches `process`.
 */
import { readdirSync, readFileSync } from 'node:fs'
import os from 'node:os'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import type { Config } from './config/load.ts'
import type { Haus, OpenFiles } from './haus.ts'
import type { LogDestination } from './platform/log/destination.ts'
import type { Log } from './platform/log/log.ts'

// Before anything else is loaded, which takes a second on a small machine: process 1 of a container
// has no handlers but its own, and a signal that came meanwhile would be lost.
let close: (signal: NodeJS.Signals) => void = () => process.exit(0)
process.on('SIGTERM', (signal) => close(signal))
process.on('SIGINT', (signal) => close(signal))

const { HausError } = await import('@haus/contract')
const { bannerOf } = await import('./banner.ts')
const { loadConfig } = await import('./config/load.ts')
const { settings } = await import('./config/settings.ts')
const { systemClock } = await import('./platform/clock/clock.ts')
const { createLogDestination } = await import('./platform/log/destination.ts')
const { createLog } = await import('./platform/log/log.ts')

/** Supervisors give 10 s before they kill; the promise is 5 s, so what hangs is cut before. */
const stopDeadlineMs = 4_500
const unexpectedExitCode = 70

const options = {
  config: { type: 'string' },
  'renew-operator-token': { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'v' },
} as const

const usage = `Usage: npm start -- [options]

  --config FILE            read settings from FILE instead of ./haus.yaml
  --renew-operator-token   replace the operator token, write the new one, and open the house
  --version                show the version
  --help                   show this

Settings (environment, or the same without HAUS_ in camel case in haus.yaml):
${Object.values(settings)
  .filter((setting) => !('later' in setting))
  .map(
    ({ env, defaultText }) =>
      `  ${env.padEnd(24)} ${defaultText === null ? '(unset)' : defaultText || '(none)'}`,
  )
  .join('\n')}
`

// A request that waits for the database outlives a collection of young objects. V8 learns from a few
// hundred such writes that requests live long, and from then on puts what every read allocates
// into the old generation: 2.4 KB each, which cost 15 to 20 % of a discovery read and let the heap
// grow by 100 MB between major collections (measured on Node 26.10).
setFlagsFromString('--no-allocation-site-pretenuring')

const version = versionOfPackage()
const onTerminal = process.stdout.isTTY

function main(): void {
  const args = parseArguments()
  if (args.help) {
    process.stdout.write(usage)
    return
  }
  if (args.version) {
    process.stdout.write(`${version}\n`)
    return
  }
  const config = orExit(() =>
    loadConfig({ env: process.env, cwd: process.cwd(), configFile: args.config }),
  )
  const destination = createLogDestination(process.stdout)
  const log = createLog({
    level: config.logLevel,
    format: onTerminal ? 'lines' : 'json',
    destination,
  })
  destination.onMended = (lost) => log.warn({ lost }, 'lines of this log could not be written')
  void run(config, log, destination, args['renew-operator-token'] ?? false)
}

async function run(
  config: Config,
  log: Log,
  destination: LogDestination,
  renewOperatorToken: boolean,
): Promise<void> {
  process.on('uncaughtException', (error) => end(error, log))
  process.on('unhandledRejection', (error) => end(error, log))
  // A closed standard error is no reason to end, either.
  process.stderr.on('error', () => {})
  for (const name of config.withoutEffect) {
    log.warn({ setting: name }, 'this setting has no effect in this release')
  }
  // Only now: it is two thirds of the program, and a wrong setting is told without it.
  const { createHaus } = await import('./haus.ts')
  // A signal that came meanwhile is heard in the next turn of the loop.
  await new Promise((resolve) => setImmediate(resolve))
  const house = createHaus(config, {
    log,
    version,
    hostName: os.hostname(),
    process: {
      memoryBytes: () => process.memoryUsage.rss(),
      openFiles,
      logLinesLost: () => destination.lost,
    },
    renewOperatorToken,
    onFatal: (error) => end(error, log),
  })
  closeOnSignals(house, log)
  try {
    const opened = await house.start()
    if (onTerminal) process.stdout.write(bannerOf(opened, process.cwd()))
    else log.info({ ...opened }, 'the house is open')
  } catch (error) {
    await house.stop(stopDeadlineMs).catch(() => {})
    end(error, log)
  }
}

/**
 * Ctrl-C arrives twice under npm (from the terminal and from npm), so a second signal is not a
 * stronger wish: the deadline is what ends a house that hangs.
 */
function closeOnSignals(house: Haus, log: Log): void {
  let closing = false
  close = (signal) => {
    if (closing) return
    closing = true
    log.info({ signal }, 'closing the house')
    // A database that hangs must not keep the process: what was acknowledged is already safe.
    systemClock.after(stopDeadlineMs, () => {
      log.warn('the house is closed, although a part of it did not answer')
      process.exit(0)
    })
    house.stop(stopDeadlineMs).then(
      () => {
        log.info('the house is closed')
        process.exit(0)
      },
      (error: unknown) => end(error, log),
    )
  }
}

/** Null where the system does not tell. */
function openFiles(): OpenFiles | null {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8')
    const max = Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? Infinity)
    return { count: readdirSync('/proc/self/fd').length, max }
  } catch {
    return null
  }
}

/** One clear sentence for a refusal that has a code; a stack for what should not happen. */
function end(error: unknown, log: Log): never {
  if (error instanceof HausError && error.status === null) {
    process.stderr.write(`haus: ${sentence(error.message)}\n`)
    process.exit(error.exitCode)
  }
  log.error({ err: error }, 'the house ends: an error that nobody expected')
  process.stderr.write('haus: ended by an unexpected error; the log has its stack.\n')
  process.exit(unexpectedExitCode)
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`
}

function parseArguments() {
  return orExit(() => {
    try {
      return parseArgs({ options, allowPositionals: false }).values
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error)
      throw new HausError('config_invalid', `${detail} Try --help`)
    }
  })
}

function orExit<T>(make: () => T): T {
  try {
    return make()
  } catch (error) {
    if (!(error instanceof HausError)) throw error
    process.stderr.write(`haus: ${sentence(error.message)}\n`)
    process.exit(error.exitCode)
  }
}

function versionOfPackage(): string {
  const file = new URL('../package.json', import.meta.url)
  const parsed: unknown = JSON.parse(readFileSync(file, 'utf8'))
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed
    ? String(parsed.version)
    : 'unknown'
}

main()
