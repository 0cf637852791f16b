/** Joins a scripted house with a clock, a signal and an exit of the test's own. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { joinHouse, type House } from '../house/house.ts'
import type { JoinOptions } from '../house/settings.ts'
import { ManualClock } from './manual-clock.ts'
import { openScriptedHouse, type ScriptedHouse } from './scripted-house.ts'
import { until } from './until.ts'

type Data = Readonly<Record<string, unknown>>

export const clientSecret = 'canary-client-secret'

export interface Setting extends AsyncDisposable {
  readonly clock: ManualClock
  readonly house: ScriptedHouse
  readonly folder: string
  readonly cacheFile: string
  readonly log: string[]
  readonly exits: number[]
  readonly env: Record<string, string | undefined>
  join(options?: Partial<JoinOptions<Data>>): Promise<House<Data>>
  signal(): void
  readonly signalHandlers: number
  /** Moves the clock from timer to timer, no further than a second at once. */
  passing<T>(what: string, condition: () => T | Promise<T>): Promise<NonNullable<T>>
}

export async function openSetting(): Promise<Setting> {
  const clock = new ManualClock()
  const house = await openScriptedHouse(clock)
  const folder = mkdtempSync(path.join(tmpdir(), 'haus-sdk-'))
  const secretFile = path.join(folder, 'secret')
  writeFileSync(secretFile, clientSecret, { mode: 0o600 })
  const log: string[] = []
  const exits: number[] = []
  const handlers = new Set<(signal: string) => void>()
  const joined: House<Data>[] = []
  const env: Setting['env'] = {
    HAUS_URL: house.url,
    HAUS_CLIENT_ID: 'k',
    HAUS_CLIENT_SECRET_FILE: secretFile,
    HAUS_CACHE_DIR: folder,
  }

  const passing: Setting['passing'] = (what, condition) =>
    until(what, async () => {
      const found = await condition()
      if (!found && clock.nextInMs !== undefined && clock.nextInMs <= 1_000) {
        clock.advance(clock.nextInMs)
      }
      return found
    })

  return {
    clock,
    house,
    folder,
    cacheFile: path.join(folder, 'orders-3000.cache'),
    log,
    exits,
    env,
    async join(options = {}) {
      const settings = { name: 'orders', version: '1.0.0', port: 3000, ...options }
      const made = await joinHouse(
        settings,
        {
          env,
          homeFolder: () => folder,
          clock,
          unit: () => 0,
          log: (level, message, fields) =>
            log.push(`${level} ${message} ${JSON.stringify(fields)}`),
          onSignal(task) {
            handlers.add(task)
            return () => void handlers.delete(task)
          },
          exit: (code) => exits.push(code),
        },
        options.parseConfig ?? ((data) => data),
      )
      joined.push(made)
      return made
    },
    signal() {
      for (const handler of handlers) handler('SIGTERM')
    },
    get signalHandlers() {
      return handlers.size
    },
    passing,
    async [Symbol.asyncDispose]() {
      const done = Promise.all(joined.map((each) => each.leave()))
      let over = false
      void done.finally(() => (over = true))
      try {
        await passing('everybody to leave', () => over)
      } finally {
        // Also after a test that failed with work under way: what stays open keeps the run from ending.
        await house[Symbol.asyncDispose]()
        rmSync(folder, { recursive: true, force: true })
      }
    },
  }
}
