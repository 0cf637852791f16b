/** The gateway over the API: one call each. No rules, no SQL. */
import {
  createGatewayRoute,
  deleteGatewayRoute,
  getGatewayRoute,
  getGatewayStatus,
  listGatewayRoutes,
  proxyRequest,
  updateGatewayRoute,
} from '@haus/contract'
import { decodeCursor, pageFrom } from '../../platform/http/cursor.ts'
import type { Routes } from '../../platform/http/routes.ts'
import type { Gateway } from './gateway.ts'
import type { createRelay } from './relay.ts'
import type { GatewayRoutes } from './service.ts'

const pageDefault = 100

export function gatewayRoutes(
  routes: Routes,
  published: GatewayRoutes,
  gateway: Gateway,
  relay: ReturnType<typeof createRelay>,
): void {
  routes.implement(createGatewayRoute, async ({ body, context }) => ({
    status: 201,
    body: await published.create(body, context),
  }))
  routes.implement(listGatewayRoutes, ({ query }) => ({
    status: 200,
    body: published.list(query),
  }))
  routes.implement(getGatewayRoute, ({ params }) => ({
    status: 200,
    body: published.get(params.id),
  }))
  routes.implement(updateGatewayRoute, async ({ params, body, context }) => ({
    status: 200,
    body: await published.update(params.id, body, context),
  }))
  routes.implement(deleteGatewayRoute, async ({ params, context }) => {
    await published.remove(params.id, context)
    return { status: 204 }
  })

  routes.implement(getGatewayStatus, async ({ query }) => {
    const { limit = pageDefault, cursor, service = null } = query
    const after = decodeCursor(cursor) ?? ''
    const { services, ...rest } = await gateway.status(service)
    const following = services
      .filter((status) => status.service > after)
      .toSorted((a, b) => (a.service < b.service ? -1 : 1))
    const page = pageFrom(following.slice(0, limit + 1), limit, (status) => status.service)
    return {
      status: 200,
      body: { url: gateway.url, domain: gateway.domain, ...rest, ...page },
    }
  })

  routes.implement(proxyRequest, ({ body, context }) => relay.send(body, context))
}
