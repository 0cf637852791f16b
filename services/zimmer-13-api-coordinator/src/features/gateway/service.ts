/**
 * Published routes: what strangers may reach without a token. Each change is one entry of the
 * ledger, and holds in the gateway from the moment it is acknowledged.
 */
import {
  gatewayBodyMaxBytes,
  HausError,
  publishedRoutesMax,
  type BodyOf,
  type createGatewayRoute,
  type updateGatewayRoute,
} from '@haus/contract'
import type { Clock } from '../../platform/clock/clock.ts'
import type { Random } from '../../platform/crypto/random.ts'
import type { RequestContext } from '../../platform/http/caller.ts'
import { decodeCursor, pageFrom } from '../../platform/http/cursor.ts'
import { GuardLost, write, type Ledger, type NewEvent } from '../../platform/ledger/index.ts'
import { auditOf } from '../audit/index.ts'
import { methodsInOrder, routeKey, type PublishedRoute } from './published-route.ts'
import type { RouteView } from './route-view.ts'
import { deleteRoute, insertRoute, updateRoute } from './store.ts'

type CreateRequest = BodyOf<typeof createGatewayRoute>
type UpdateRequest = BodyOf<typeof updateGatewayRoute>

export interface GatewayRoutes {
  list(page: { readonly limit?: number; readonly cursor?: string }): {
    readonly items: readonly PublishedRoute[]
    readonly nextCursor: string | null
  }
  get(id: string): PublishedRoute
  create(request: CreateRequest, context: RequestContext): Promise<PublishedRoute>
  update(id: string, request: UpdateRequest, context: RequestContext): Promise<PublishedRoute>
  remove(id: string, context: RequestContext): Promise<void>
}

const pageDefault = 100

export function createGatewayRoutes(dependencies: {
  readonly ledger: Ledger
  readonly view: RouteView
  readonly clock: Clock
  readonly random: Random
  readonly canonicalService: (name: string) => string
}): GatewayRoutes {
  const { ledger, view, clock, random, canonicalService } = dependencies

  function fieldsOf(request: CreateRequest | UpdateRequest) {
    return {
      host: request.host ?? null,
      pathPrefix: request.pathPrefix,
      methods: methodsInOrder(request.methods),
      service: canonicalService(request.service),
      stripPrefix: request.stripPrefix,
      bodyMaxBytes: request.bodyMaxBytes ?? gatewayBodyMaxBytes,
      retryIdempotencyKey: request.retryIdempotencyKey ?? false,
    }
  }

  function refuseRival(route: PublishedRoute): void {
    const rival = view.rival(route)
    if (rival !== undefined) throw taken(rival)
  }

  function get(id: string): PublishedRoute {
    const route = view.get(id)
    if (route !== undefined) return route
    const detail = `no route ${id} is published`
    throw new HausError('gateway_route_not_found', `path.id: ${detail}.`, {
      fields: [{ field: 'path.id', detail }],
    })
  }

  return {
    list({ limit = pageDefault, cursor }) {
      const after = decodeCursor(cursor) ?? ''
      const following = view.all().filter(({ id }) => id > after)
      return pageFrom(following.slice(0, limit + 1), limit, ({ id }) => id)
    },

    get,

    async create(request, context) {
      if (view.size >= publishedRoutesMax) {
        throw new HausError(
          'limit_reached',
          `The house publishes ${publishedRoutesMax} routes, which is its limit: withdraw those that are not used.`,
        )
      }
      const now = clock.now().toISOString()
      const route: PublishedRoute = {
        id: random.id(),
        ...fieldsOf(request),
        revision: 1,
        createdAt: now,
        updatedAt: now,
      }
      refuseRival(route)
      try {
        await ledger.append({
          keys: keysOf(route),
          writes: [write(insertRoute, route)],
          events: [changed(route)],
          audit: auditOf(context, targetOf(route.id), auditDetail(route)),
        })
      } catch (error) {
        if (!(error instanceof GuardLost)) throw error
        throw taken(view.rival(route) ?? route)
      }
      return route
    },

    async update(id, request, context) {
      const known = get(id)
      if (known.revision !== request.cas) throw outdated(known, request.cas)
      const route: PublishedRoute = {
        ...known,
        ...fieldsOf(request),
        revision: known.revision + 1,
        updatedAt: clock.now().toISOString(),
      }
      refuseRival(route)
      try {
        await ledger.append({
          keys: keysOf(route),
          writes: [write(updateRoute, route)],
          events: [changed(route)],
          audit: auditOf(context, targetOf(id), auditDetail(route)),
        })
      } catch (error) {
        if (!(error instanceof GuardLost)) throw error
        refuseRival(route)
        throw outdated(get(id), request.cas)
      }
      return route
    },

    async remove(id, context) {
      // What is not there needs no entry: it is as it should be.
      if (view.get(id) === undefined) return
      await ledger.append({
        keys: [`gateway-route:${id}`],
        writes: [write(deleteRoute, { id })],
        events: [
          {
            type: 'haus.route.deleted',
            subject: targetOf(id),
            service: null,
            data: { id },
          },
        ],
        audit: auditOf(context, targetOf(id)),
      })
    },
  }
}

function targetOf(id: string): string {
  return `gateway/routes/${id}`
}

function keysOf(route: PublishedRoute): string[] {
  return [`gateway-route:${route.id}`, `gateway-route:${routeKey(route)}`]
}

function changed(route: PublishedRoute): NewEvent {
  return {
    type: 'haus.route.changed',
    subject: targetOf(route.id),
    service: null,
    data: { route },
  }
}

function auditDetail({ host, pathPrefix, methods, service }: PublishedRoute) {
  return { host, pathPrefix, methods, service }
}

function taken(rival: PublishedRoute): HausError {
  const detail = `is what route ${rival.id} publishes: change that one, or name other methods`
  return new HausError('route_taken', `/pathPrefix ${detail}.`, {
    fields: [{ field: '/pathPrefix', detail }],
  })
}

function outdated(current: PublishedRoute, cas: number): HausError {
  const detail = `is ${cas}, and the current revision is ${current.revision}: read the route again and decide whether to write over it`
  return new HausError('version_conflict', `/cas ${detail}.`, {
    fields: [{ field: '/cas', detail }],
  })
}
