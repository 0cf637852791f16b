/** The registry over HTTP: one call each. No rules, no SQL. */
import {
  deleteService,
  deregisterInstance,
  discover,
  getService,
  getServiceConfig,
  heartbeat,
  listServices,
  putServiceConfig,
  registerInstance,
  updateInstance,
  updateService,
} from '@haus/contract'
import type { Routes } from '../../platform/http/routes.ts'
import type { Registry } from './registry.ts'

export function registryRoutes(routes: Routes, registry: Registry): void {
  routes.implement(registerInstance, async ({ body, context }) => ({
    status: 201,
    body: await registry.register(body, context),
  }))

  routes.implement(heartbeat, ({ params, body }) => ({
    status: 200,
    body: registry.heartbeat(params.name, params.id, body),
  }))

  routes.implement(discover, ({ query }) => ({ status: 200, raw: registry.discover(query) }))

  routes.implement(listServices, ({ query, context }) => ({
    status: 200,
    body: registry.listServices(query, context),
  }))

  routes.implement(getService, ({ params, context }) => ({
    status: 200,
    body: registry.getService(params.name, context),
  }))

  routes.implement(updateService, async ({ params, body, context }) => ({
    status: 200,
    body: await registry.updateService(params.name, body, context),
  }))

  routes.implement(deleteService, async ({ params, query, context }) => {
    await registry.deleteService(params.name, query.forget ?? false, context)
    return { status: 204 }
  })

  routes.implement(updateInstance, async ({ params, body, context }) => ({
    status: 200,
    body: await registry.updateInstance(params.name, params.id, body, context),
  }))

  routes.implement(deregisterInstance, async ({ params, query, context }) => {
    await registry.deregister(params.name, params.id, query.incarnation, context)
    return { status: 204 }
  })

  routes.implement(getServiceConfig, ({ params, headers }) => {
    const config = registry.getConfig(params.name)
    const etag = `"${config.version}"`
    if (matches(headers['if-none-match'], etag)) return { status: 304, headers: { etag } }
    return { status: 200, body: config, headers: { etag } }
  })

  routes.implement(putServiceConfig, async ({ params, body, context }) => ({
    status: 200,
    body: await registry.putConfig(params.name, body, context),
  }))
}

/** Weak comparison, RFC 9110 section 13.1.2. */
function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false
  return header
    .split(',')
    .map((tag) => tag.trim().replace(/^W\//, ''))
    .some((tag) => tag === '*' || tag === etag)
}
