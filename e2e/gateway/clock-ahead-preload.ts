/** Preloaded into a house: its wall clock is ahead by HAUS_TEST_CLOCK_AHEAD_MS, in every thread. */
const aheadMs = Number(process.env['HAUS_TEST_CLOCK_AHEAD_MS'])
const now = Date.now.bind(Date)
const Original = Date

globalThis.Date = new Proxy(Original, {
  construct: (target, args: unknown[], newTarget: NewableFunction) =>
    Reflect.construct(target, args.length === 0 ? [now() + aheadMs] : args, newTarget) as Date,
  get: (target, key, receiver) =>
    key === 'now' ? () => now() + aheadMs : (Reflect.get(target, key, receiver) as unknown),
})
