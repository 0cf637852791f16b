/** Operations of the contract to functions of the service; nothing is decided here. */
import {
  addCredentialVersion,
  createCredential,
  deleteCredential,
  getCredential,
  getServiceCredentials,
  listCredentials,
  revealCredential,
  updateCredential,
} from '@haus/contract'
import type { Routes } from '../../platform/http/routes.ts'
import type { Credentials } from './index.ts'

export function credentialRoutes(routes: Routes, credentials: Credentials): void {
  routes.implement(createCredential, async ({ body, context }) => ({
    status: 201,
    body: await credentials.create(body, context),
  }))

  routes.implement(listCredentials, ({ query }) => ({
    status: 200,
    body: credentials.list(query),
  }))

  routes.implement(getCredential, async ({ params, context }) => ({
    status: 200,
    body: await credentials.get(params.id, context),
  }))

  routes.implement(addCredentialVersion, async ({ params, body, context }) => ({
    status: 201,
    body: await credentials.addVersion(params.id, body, context),
  }))

  routes.implement(updateCredential, async ({ params, body, context }) => ({
    status: 200,
    body: await credentials.update(params.id, body, context),
  }))

  routes.implement(revealCredential, async ({ params, query, context }) => ({
    status: 200,
    body: await credentials.reveal(params.id, query.version, context),
  }))

  routes.implement(deleteCredential, async ({ params, context }) => {
    await credentials.remove(params.id, context)
    return { status: 204 }
  })

  routes.implement(getServiceCredentials, async ({ params, headers, context }) => {
    const { etag, body } = await credentials.readFor(params.name, headers['if-none-match'], context)
    if (body === null) return { status: 304, headers: { etag } }
    return { status: 200, raw: body, headers: { etag } }
  })
}
