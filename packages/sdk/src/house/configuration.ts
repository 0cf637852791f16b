/**
 * The configuration of the service, as it last was valid. What the program refuses is never in
 * use: the version before stays, and the house sees from the heartbeats that it does.
 */
import type { Config as ConfigSchema, StaticOf } from '@haus/contract'
import { SettingsError } from './settings.ts'
import { nameOf, type Log } from '../platform/log.ts'

export type VersionedConfig = StaticOf<typeof ConfigSchema>

export interface ConfigChange<C> {
  readonly version: number
  readonly current: C
  readonly previous: C
}

export interface Configuration<C> {
  /** @throws SettingsError before the first valid one. */
  readonly current: C
  readonly version: number
  /** As it came, for the cache; undefined before the first valid one. */
  readonly accepted: VersionedConfig | undefined
  /** True when there was nothing to refuse. */
  receive(config: VersionedConfig): boolean
  /** This one has been looked at, and refused. */
  refused(version: number): boolean
}

export interface ConfigurationOptions<C> {
  /** Throws at what the program cannot work with. */
  readonly parse: (data: Readonly<Record<string, unknown>>) => C
  readonly notify: (change: ConfigChange<C>) => Promise<void>
  readonly onAccepted: () => void
  readonly log: Log
}

export function createConfiguration<C>(options: ConfigurationOptions<C>): Configuration<C> {
  const { parse, notify, onAccepted, log } = options
  let inUse: { readonly config: VersionedConfig; readonly value: C } | undefined
  let refusedVersion: number | undefined
  let refusal: string | undefined

  return {
    get current() {
      if (!inUse) throw new SettingsError(refusal ?? 'There is no configuration yet.')
      return inUse.value
    },

    get version() {
      return inUse?.config.version ?? 0
    },

    get accepted() {
      return inUse?.config
    },

    receive(config) {
      const { version } = config
      if (version === inUse?.config.version) {
        refusedVersion = undefined
        return true
      }
      if (version === refusedVersion) return false
      let value: C
      try {
        // A copy, so that a program which changes it does not change what is kept.
        value = parse(structuredClone(config.data))
      } catch (error) {
        refusedVersion = version
        const reason = error instanceof Error ? error.message.slice(0, 500) : nameOf(error)
        refusal = `The program refuses version ${version} of its configuration: ${reason}`
        const before = inUse?.config.version ?? null
        log('warn', refusal, { version, inUse: before })
        return false
      }
      refusedVersion = undefined
      const before = inUse
      inUse = { config, value }
      onAccepted()
      if (before) {
        notify({ version, current: value, previous: before.value }).catch((error: unknown) =>
          log('warn', 'A handler of the configuration failed.', { version, reason: nameOf(error) }),
        )
      }
      return true
    },

    refused: (version) => version === refusedVersion,
  }
}
