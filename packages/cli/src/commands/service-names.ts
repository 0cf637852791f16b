/** A service that the house does not know is answered with the name that was probably meant. */
import type { HausClient } from '@haus/sdk/client'
import { Failure } from '../failure.ts'
import { collect, notFound } from '../house.ts'

const servicesMax = 2000

export async function serviceNames(client: HausClient, signal?: AbortSignal): Promise<string[]> {
  const { items } = await collect(servicesMax, (query) =>
    client.call('listServices', { query, signal }),
  )
  return items.flatMap(({ name, aliases }) => [name, ...aliases])
}

/** Rejects with what `error` means; a caller gives it to `catch`. */
export async function explainMissingService(
  client: HausClient,
  name: string,
  error: unknown,
): Promise<never> {
  if (!(error instanceof Failure) || error.code !== 'service_not_found') throw error
  throw notFound('service', name, await serviceNames(client), 'service_not_found')
}
