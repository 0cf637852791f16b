/** Configuration of services: one small document each, versioned. Not for secrets. */
import {
  configMaxBytes,
  HausError,
  servicesMax,
  type BodyOf,
  type putServiceConfig,
} from '@haus/contract'
import type { Clock } from '../../platform/clock/clock.ts'
import type { RequestContext } from '../../platform/http/caller.ts'
import { write, type Ledger } from '../../platform/ledger/index.ts'
import { auditOf } from '../audit/index.ts'
import { configChanged, type ConfigRecord } from './records.ts'
import { forgetRoute, retryWhenLost } from './refusals.ts'
import { putConfig } from './store.ts'
import type { RegistryView } from './view.ts'

/** Names in the refusal; whoever forgets those is told of the next. */
const strangersShown = 5

type ConfigRequest = BodyOf<typeof putServiceConfig>

export function createConfiguration(dependencies: {
  readonly ledger: Ledger
  readonly view: RegistryView
  readonly clock: Clock
}) {
  const { ledger, view, clock } = dependencies

  return {
    get: (nameOrAlias: string): ConfigRecord => view.config(view.canonicalService(nameOrAlias)),

    async put(
      nameOrAlias: string,
      { data, cas }: ConfigRequest,
      context: RequestContext,
    ): Promise<ConfigRecord> {
      const sizeBytes = Buffer.byteLength(JSON.stringify(data))
      if (sizeBytes > configMaxBytes) {
        throw new HausError(
          'body_too_large',
          `/data has ${sizeBytes} bytes as JSON, and ${configMaxBytes} are the limit; keep files and tables elsewhere.`,
          { fields: [{ field: '/data', detail: `must have at most ${configMaxBytes} bytes` }] },
        )
      }
      const service = view.canonicalService(nameOrAlias)
      return retryWhenLost(`The configuration of "${service}"`, async () => {
        const { version } = view.config(service)
        if (cas !== undefined && cas !== version) {
          const detail = `is ${cas}, and the current version is ${version}: read it, merge, and send cas ${version}`
          throw new HausError('version_conflict', `/cas ${detail}.`, {
            fields: [{ field: '/cas', detail }],
          })
        }
        if (version === 0 && view.configs >= servicesMax) {
          throw limitReached(view)
        }
        const config = { version: version + 1, data }
        const updatedAt = clock.now().toISOString()
        await ledger.append({
          keys: [`config:${service}`],
          writes: [write(putConfig, { ...config, service, updatedAt })],
          events: [configChanged(service, config)],
          audit: auditOf(context, `services/${service}`, { configVersion: config.version }),
        })
        return config
      })
    },
  }
}

/** Names that never registered, such as misspelt ones, are in no list of services: it shows some. */
function limitReached(view: RegistryView): HausError {
  const strangers: string[] = []
  for (const name of view.configNames()) {
    if (view.service(name)) continue
    strangers.push(`"${name}"`)
    if (strangers.length === strangersShown) break
  }
  const such = strangers.length > 0 ? `, such as ${strangers.join(', ')}, not registered` : ''
  return new HausError(
    'limit_reached',
    `${servicesMax} services have a configuration, the limit of the house: forget one that is no more${such}, with ${forgetRoute}.`,
  )
}
