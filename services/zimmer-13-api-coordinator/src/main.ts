/**
 * The process: arguments, environment, signals, exit codes. The only module that touches `process`.
 */
import { readFileSync } from 'node:fs'
import os from 'node:os'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { HausError } from '@haus/contract'
import { bannerOf } from './banner.ts'
import { loadConfig, type Config } from './config/load.ts'
import { settings } from './config/settings.ts'
import { createHaus, type Haus } from './haus.ts'
import { systemClock } from './platform/clock/clock.ts'
import { createLog, type Log } from './platform/log/log.ts'

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
  const log = createLog({
    level: config.logLevel,
    format: onTerminal ? 'lines' : 'json',
    destination: process.stdout,
  })
  void run(config, log, args['renew-operator-token'] ?? false)
}

async function run(config: Config, log: Log, renewOperatorToken: boolean): Promise<void> {
  process.on('uncaughtException', (error) => end(error, log))
  process.on('unhandledRejection', (error) => end(error, log))
  for (const name of config.withoutEffect) {
    log.warn({ setting: name }, 'this setting has no effect in this release')
  }
  const house = createHaus(config, {
    log,
    version,
    hostName: os.hostname(),
    memoryBytes: () => process.memoryUsage.rss(),
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
  const close = (signal: NodeJS.Signals): void => {
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
  process.on('SIGTERM', close)
  process.on('SIGINT', close)
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
