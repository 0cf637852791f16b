/** Service keys and tokens. Secrets appear once, in the answer that makes them. */
import { Type } from 'typebox'
import { defineOperation, Page, pageOf, viewHeaders } from './operation.ts'
import { ServiceName, Timestamp, Uuid } from './names.ts'
import { example } from './example-values.ts'

export const audiences = ['haus', 'haus-gateway'] as const
export type Audience = (typeof audiences)[number]

/** A token lives this long; revocation does not wait for it. */
export const tokenTtlSeconds = 900

const ServiceParams = Type.Object({ name: ServiceName })

export const Key = Type.Object(
  {
    clientId: Uuid,
    service: ServiceName,
    createdAt: Timestamp,
    revokedAt: Type.Union([Timestamp, Type.Null()]),
    lastUsedAt: Type.Union([Timestamp, Type.Null()], {
      description:
        'The last token made with it, as this process remembers it; null since its start.',
    }),
  },
  { title: 'Key' },
)

export const createServiceKey = defineOperation({
  id: 'createServiceKey',
  method: 'POST',
  path: '/api/services/{name}/keys',
  tag: 'Identity',
  summary: 'Make a key for a service',
  description:
    'The secret is in this answer and nowhere else: Haus keeps only a keyed hash of it. The service need not have registered yet. A service has at most 16 live keys.',
  effect: 'write',
  permission: 'keys.manage',
  params: ServiceParams,
  answers: {
    201: {
      description: 'The key. Store the secret now.',
      schema: Type.Object({
        clientId: Uuid,
        clientSecret: Type.String(),
        service: ServiceName,
        createdAt: Timestamp,
      }),
    },
  },
  errors: ['limit_reached'],
  example: {
    params: { name: 'orders' },
    status: 201,
    answer: {
      clientId: example.clientId,
      clientSecret: example.clientSecret,
      service: 'orders',
      createdAt: example.time,
    },
  },
})

export const listServiceKeys = defineOperation({
  id: 'listServiceKeys',
  method: 'GET',
  path: '/api/services/{name}/keys',
  tag: 'Identity',
  summary: 'List the keys of a service',
  effect: 'read',
  permission: 'keys.manage',
  params: ServiceParams,
  query: Type.Object({ ...Page }, { additionalProperties: false }),
  answers: {
    200: {
      description:
        'The keys, oldest first; of those that are revoked the newest 64, and the newest 10,000 of the house.',
      schema: pageOf(Key),
      headers: viewHeaders,
    },
  },
  errors: [],
  example: {
    params: { name: 'orders' },
    status: 200,
    answer: {
      items: [
        {
          clientId: example.clientId,
          service: 'orders',
          createdAt: example.time,
          revokedAt: null,
          lastUsedAt: null,
        },
      ],
      nextCursor: null,
    },
  },
})

export const revokeServiceKey = defineOperation({
  id: 'revokeServiceKey',
  method: 'DELETE',
  path: '/api/services/{name}/keys/{clientId}',
  tag: 'Identity',
  summary: 'Revoke a key',
  description:
    'Tokens made with it stop working at once, and streams opened with them end. Idempotent.',
  effect: 'destructive',
  permission: 'keys.manage',
  params: Type.Object({ name: ServiceName, clientId: Uuid }),
  answers: { 204: { description: 'Revoked.' } },
  errors: ['key_not_found'],
  example: { params: { name: 'orders', clientId: example.clientId }, status: 204 },
})

export const issueToken = defineOperation({
  id: 'issueToken',
  method: 'POST',
  path: '/api/auth/token',
  tag: 'Identity',
  summary: 'Trade a key for a token',
  description:
    'OAuth 2.0 client credentials (RFC 6749 section 4.4), as form or JSON, or with HTTP Basic. Refusals have the shape of RFC 6749 section 5.2. The right secret is never locked out by somebody else’s wrong ones.',
  effect: 'read',
  permission: 'public',
  form: true,
  errorShape: 'rfc6749',
  // Anybody may ask: four times what the longest honest request has.
  bodyLimitBytes: 4096,
  body: Type.Object(
    {
      grant_type: Type.Literal('client_credentials'),
      client_id: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
      client_secret: Type.Optional(Type.String({ minLength: 1, maxLength: 256 })),
      audience: Type.Optional(Type.Enum([...audiences])),
      scope: Type.Optional(Type.String({ maxLength: 256, description: 'Accepted and ignored.' })),
    },
    { additionalProperties: false },
  ),
  answers: {
    200: {
      description: 'An EdDSA JWT.',
      schema: Type.Object({
        access_token: Type.String(),
        token_type: Type.Literal('Bearer'),
        expires_in: Type.Integer({ description: 'Seconds.' }),
      }),
    },
  },
  errors: ['invalid_client', 'rate_limited'],
  example: {
    as: 'nobody',
    body: {
      grant_type: 'client_credentials',
      client_id: example.clientId,
      client_secret: example.clientSecret,
    },
    status: 200,
    answer: {
      access_token: example.serviceToken,
      token_type: 'Bearer',
      expires_in: tokenTtlSeconds,
    },
  },
})

export const getJwks = defineOperation({
  id: 'getJwks',
  method: 'GET',
  path: '/.well-known/jwks.json',
  tag: 'Identity',
  summary: 'The public keys that tokens are signed with',
  description:
    'RFC 7517. A service checks the tokens of others with it, without asking Haus each time.',
  effect: 'read',
  permission: 'public',
  answers: {
    200: {
      description: 'The key set.',
      schema: Type.Object({
        keys: Type.Array(
          Type.Object({
            kty: Type.Literal('OKP'),
            crv: Type.Literal('Ed25519'),
            x: Type.String(),
            kid: Type.String(),
            alg: Type.Literal('EdDSA'),
            use: Type.Literal('sig'),
          }),
        ),
      }),
    },
  },
  errors: [],
  example: {
    as: 'nobody',
    status: 200,
    answer: {
      keys: [
        {
          kty: 'OKP',
          crv: 'Ed25519',
          x: example.publicKey,
          kid: example.keyId,
          alg: 'EdDSA',
          use: 'sig',
        },
      ],
    },
  },
})
