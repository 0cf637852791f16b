/** The room kit, in this process: its environment, its signals, its standard error. */
import { homedir } from 'node:os'
import { joinHouse, type House } from './house/house.ts'
import type { JoinOptions, Surroundings } from './house/settings.ts'
import { systemClock } from './platform/clock.ts'

const surroundings: Surroundings = {
  env: process.env,
  homeFolder: homedir,
  clock: systemClock,
  unit: Math.random,
  log(level, message, fields) {
    const line = { level, time: new Date().toISOString(), name: 'haus', msg: message, ...fields }
    process.stderr.write(`${JSON.stringify(line)}\n`)
  },
  onSignal(task) {
    const signals = ['SIGTERM', 'SIGINT'] as const
    for (const signal of signals) process.on(signal, task)
    return () => {
      for (const signal of signals) process.off(signal, task)
    }
  },
  exit: (code) => process.exit(code),
}

/**
 * Moves this process into the house: call it once it listens, since the house looks at once.
 *
 * Resolves when the service has what it needs: registered, or started from its cache while the
 * house is away. Rejects when a person has to do something.
 */
export function joinHaus(
  options: Omit<JoinOptions<Readonly<Record<string, unknown>>>, 'parseConfig'>,
): Promise<House<Readonly<Record<string, unknown>>>>
export function joinHaus<C>(
  options: JoinOptions<C> & { readonly parseConfig: NonNullable<JoinOptions<C>['parseConfig']> },
): Promise<House<C>>
export function joinHaus<C>(
  options: JoinOptions<C>,
): Promise<House<C> | House<Readonly<Record<string, unknown>>>> {
  const { parseConfig, ...rest } = options
  return parseConfig
    ? joinHouse(options, surroundings, parseConfig)
    : joinHouse(rest, surroundings, (data) => data)
}

export * from './client/index.ts'
export type { Picked } from './house/balancer.ts'
export type { ConfigChange } from './house/configuration.ts'
export type { Credential, CredentialChange } from './house/credentials.ts'
export { NobodyServesError, type Discovered, type DiscoveryFilter } from './house/discovery.ts'
export { createHealth, type Check, type Health, type HealthOptions } from './house/health.ts'
export type { House, HouseEvents } from './house/house.ts'
export type { MembershipState } from './house/membership.ts'
export { SettingsError, type JoinOptions } from './house/settings.ts'
export { TokenError, type VerifiedCaller } from './house/verifier.ts'
export type { Log, LogFields, LogLevel } from './platform/log.ts'
