/** A published route in its one form for rows, events and the data plane. */
import { httpMethods } from '@haus/contract'
import type { RoutedPrefix } from './messages.ts'

export interface PublishedRoute extends RoutedPrefix {
  /** Counts every change; the guard of updates. */
  readonly revision: number
  readonly createdAt: string
  readonly updatedAt: string
}

/** In the contract's order, so that one set of methods has one form; null: all of them. */
export function methodsInOrder(methods: readonly string[] | null | undefined): string[] | null {
  if (methods === null || methods === undefined) return null
  return httpMethods.filter((method) => methods.includes(method))
}

/** Two routes with one key would leave it open which of them serves. */
export function routeKey(route: Pick<RoutedPrefix, 'host' | 'pathPrefix' | 'methods'>): string {
  return `${route.host ?? ''} ${route.pathPrefix} ${route.methods?.join(',') ?? ''}`
}

/** A record that came through the ledger; null when it is not one. */
export function routeOf(data: Readonly<Record<string, unknown>>): PublishedRoute | null {
  const value = data['route']
  return isRoute(value) ? value : null
}

function isRoute(value: unknown): value is PublishedRoute {
  if (typeof value !== 'object' || value === null) return false
  const route: Partial<Record<keyof PublishedRoute, unknown>> = value
  return (
    typeof route.id === 'string' &&
    (route.host === null || typeof route.host === 'string') &&
    typeof route.pathPrefix === 'string' &&
    (route.methods === null || Array.isArray(route.methods)) &&
    typeof route.service === 'string' &&
    typeof route.stripPrefix === 'boolean' &&
    typeof route.bodyMaxBytes === 'number' &&
    typeof route.retryIdempotencyKey === 'boolean' &&
    typeof route.revision === 'number' &&
    typeof route.createdAt === 'string' &&
    typeof route.updatedAt === 'string'
  )
}
