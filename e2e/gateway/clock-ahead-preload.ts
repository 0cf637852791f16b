/**
 * Preloaded into a house: its wall clock is sixteen minutes ahead, in every thread, once the file
 * HAUS_TEST_CLOCK_AHEAD_FILE is there.
 */
import { existsSync } from 'node:fs'

const file = process.env['HAUS_TEST_CLOCK_AHEAD_FILE'] ?? ''
const aheadMs = (): number => (existsSync(file) ? 16 * 60_000 : 0)
const now = Date.now.bind(Date)
const Original = Date

globalThis.Date = new Proxy(Original, {
  construct: (target, args: unknown[], newTarget: NewableFunction) =>
    Reflect.construct(target, args.length === 0 ? [now() + aheadMs()] : args, newTarget) as Date,
  get: (target, key, receiver) =>
    key === 'now' ? () => now() + aheadMs() : (Reflect.get(target, key, receiver) as unknown),
})
