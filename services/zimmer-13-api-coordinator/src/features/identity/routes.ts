/** Identity over HTTP. Secrets leave here and nowhere else. */
import {
  createServiceKey,
  getJwks,
  issueToken,
  listServiceKeys,
  revokeServiceKey,
} from '@haus/contract'
import type { Routes } from '../../platform/http/routes.ts'
import { readClientCredentials } from './client-credentials.ts'
import type { Identity } from './service.ts'

/** Keys change with the root, that is never; an hour bounds what a verifier believes after a mistake. */
const jwksMaxAgeSeconds = 3_600

export function identityRoutes(routes: Routes, identity: Identity): void {
  routes.implement(createServiceKey, async ({ params, context }) => {
    const { clientSecret, ...key } = await identity.createServiceKey(params.name, context)
    return { status: 201, body: { ...key, clientSecret: clientSecret.reveal() } }
  })

  routes.implement(listServiceKeys, ({ params, query }) => ({
    status: 200,
    body: identity.listServiceKeys(params.name, {
      limit: query.limit ?? 100,
      cursor: query.cursor,
    }),
  }))

  routes.implement(revokeServiceKey, async ({ params, context }) => {
    await identity.revokeServiceKey(params.name, params.clientId, context)
    return { status: 204 }
  })

  routes.implement(issueToken, async ({ body, headers, context }) => {
    const client = readClientCredentials(headers.authorization, body)
    const { accessToken, expiresInSeconds } = await identity.issueToken(
      client,
      body.audience ?? 'haus',
      context,
    )
    return {
      status: 200,
      body: {
        access_token: accessToken.reveal(),
        token_type: 'Bearer',
        expires_in: expiresInSeconds,
      },
      headers: { pragma: 'no-cache' },
    }
  })

  routes.implement(getJwks, () => ({
    status: 200,
    body: identity.jwks(),
    headers: { 'cache-control': `public, max-age=${jwksMaxAgeSeconds}` },
  }))
}
