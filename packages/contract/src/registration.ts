/** How an instance enters the house, keeps its lease, changes and leaves. */
import { Type } from 'typebox'
import { defineOperation } from './operation.ts'
import { example } from './example-values.ts'
import { GrantedCredential } from './credentials.ts'
import {
  CredentialName,
  ServiceName,
  Uuid,
  credentialNameForm,
  credentialNamePattern,
} from './names.ts'
import {
  Address,
  Config,
  Endpoints,
  HealthInterval,
  Instance,
  Metadata,
  Port,
  Scheme,
  Tags,
  Version,
  Weight,
  Zone,
  heartbeatIntervalSeconds,
  instanceExample,
  instanceStates,
  leaseTtlSeconds,
} from './instance-shapes.ts'

export const Registration = Type.Object(
  {
    name: ServiceName,
    version: Version,
    port: Port,
    address: Type.Optional(Address),
    scheme: Type.Optional(Scheme),
    healthEndpoint: Type.Optional(
      Type.String({
        maxLength: 256,
        pattern: '^/(?!/)[\\x21-\\x7e]*$',
        'x-form': 'a path that begins with one slash, in printable ASCII without spaces',
        description:
          'A path that answers 2xx while it works. Absent: a TCP connection is the check.',
      }),
    ),
    healthIntervalSeconds: Type.Optional(HealthInterval),
    credentialsNeeded: Type.Optional(
      Type.Array(CredentialName, {
        maxItems: 64,
        uniqueItems: true,
        description: 'Absent: all that are granted. One that is missing refuses the registration.',
      }),
    ),
    dependencies: Type.Optional(Type.Array(ServiceName, { maxItems: 64, uniqueItems: true })),
    tags: Type.Optional(Tags),
    metadata: Type.Optional(Metadata),
    zone: Type.Optional(Zone),
    weight: Type.Optional(Weight),
    endpoints: Type.Optional(Endpoints),
  },
  { title: 'Registration', additionalProperties: false },
)

export const registerInstance = defineOperation({
  id: 'registerInstance',
  method: 'POST',
  path: '/api/services/register',
  tag: 'Services',
  summary: 'Register a running instance',
  description:
    'One answer carries the lease, the credentials and the configuration, and says whether Haus can reach the address. The same service, address and port is the same instance: its `incarnation` goes up, and the start before it can no longer speak for it. An operator’s registration has no lease: its probe decides alone, and only an operator removes it.',
  effect: 'write',
  permission: 'services.register',
  body: Registration,
  answers: {
    201: {
      description: 'Registered, durably.',
      schema: Type.Object({
        service: ServiceName,
        instanceId: Uuid,
        incarnation: Type.Integer({ minimum: 1 }),
        heartbeatIntervalSeconds: Type.Integer(),
        leaseTtlSeconds: Type.Union([Type.Integer(), Type.Null()], {
          description: 'Null: no lease, the probe decides alone.',
        }),
        credentials: Type.Record(Type.String(), GrantedCredential),
        config: Config,
        advertise: Type.Object({
          state: Type.Enum(['reachable', 'unreachable', 'pending']),
          address: Type.String(),
          port: Port,
          mend: Type.Optional(Type.String()),
        }),
        warnings: Type.Array(Type.String(), {
          description: 'Allowed, and worth a look: a dependency cycle, an unknown dependency.',
        }),
      }),
    },
  },
  errors: ['advertise_refused', 'credential_not_granted', 'limit_reached', 'version_conflict'],
  example: {
    as: 'service',
    body: {
      name: 'orders',
      version: '1.4.0',
      port: 3000,
      healthEndpoint: '/up',
      tags: ['http'],
      endpoints: [{ path: '/orders', methods: ['GET', 'POST'] }],
    },
    status: 201,
    answer: {
      service: 'orders',
      instanceId: example.instanceId,
      incarnation: 1,
      heartbeatIntervalSeconds,
      leaseTtlSeconds,
      credentials: {
        'orders-database': {
          id: example.credentialId,
          version: 1,
          data: { username: 'orders', password: 'example-password' },
          expiresAt: null,
        },
      },
      config: { version: 0, data: {} },
      advertise: { state: 'reachable', address: '127.0.0.1', port: 3000 },
      warnings: [],
    },
  },
})

const InstanceParams = Type.Object({ name: ServiceName, id: Uuid })

export const heartbeat = defineOperation({
  id: 'heartbeat',
  method: 'POST',
  path: '/api/services/{name}/instances/{id}/heartbeat',
  tag: 'Services',
  summary: 'Keep the lease',
  description:
    'Answers with what has changed since. 404: register again. 409: a newer start of this instance has registered.',
  effect: 'write',
  permission: 'instances.write',
  params: InstanceParams,
  body: Type.Object(
    {
      incarnation: Type.Integer({ minimum: 1 }),
      load: Type.Optional(
        Type.Number({ minimum: 0, maximum: 1, description: 'Share of capacity in use.' }),
      ),
      status: Type.Optional(Type.Enum(['healthy', 'degraded'])),
      adopted: Type.Optional(
        Type.Record(Type.String({ pattern: credentialNamePattern }), Type.Integer({ minimum: 1 }), {
          maxProperties: 64,
          additionalProperties: false,
          'x-keys': credentialNameForm,
          description: 'The credential versions in use, by credential name.',
        }),
      ),
      configVersion: Type.Optional(
        Type.Integer({ minimum: 0, description: 'The configuration in use.' }),
      ),
    },
    { additionalProperties: false },
  ),
  answers: {
    200: {
      description: 'The lease is renewed.',
      schema: Type.Object({
        state: Type.Enum([...instanceStates]),
        heartbeatIntervalSeconds: Type.Integer(),
        leaseTtlSeconds: Type.Union([Type.Integer(), Type.Null()]),
        changed: Type.Object(
          {
            credentials: Type.Record(Type.String(), Type.Union([Type.Integer(), Type.Null()]), {
              description: 'Current versions that differ from `adopted`; null: no longer granted.',
            }),
            configVersion: Type.Union([Type.Integer(), Type.Null()]),
          },
          { description: 'Null and empty: nothing to do.' },
        ),
      }),
    },
  },
  errors: ['service_not_found', 'instance_not_found', 'stale_incarnation'],
  example: {
    as: 'service',
    params: { name: 'orders', id: example.instanceId },
    body: { incarnation: 1, load: 0.2, adopted: { 'orders-database': 1 }, configVersion: 0 },
    status: 200,
    answer: {
      state: 'healthy',
      heartbeatIntervalSeconds,
      leaseTtlSeconds,
      changed: { credentials: {}, configVersion: null },
    },
  },
})

export const updateInstance = defineOperation({
  id: 'updateInstance',
  method: 'PATCH',
  path: '/api/services/{name}/instances/{id}',
  tag: 'Services',
  summary: 'Weight, draining, maintenance',
  description:
    'A draining instance finishes what it has and takes nothing new. One in maintenance takes nothing and is not probed.',
  effect: 'write',
  permission: 'instances.write',
  params: InstanceParams,
  body: Type.Object(
    {
      weight: Type.Optional(Weight),
      draining: Type.Optional(Type.Boolean()),
      maintenance: Type.Optional(Type.Boolean()),
    },
    { additionalProperties: false, minProperties: 1 },
  ),
  answers: { 200: { description: 'The instance as it is now.', schema: Instance } },
  errors: ['service_not_found', 'instance_not_found', 'version_conflict'],
  example: {
    params: { name: 'orders', id: example.instanceId },
    body: { weight: 50 },
    status: 200,
    answer: { ...instanceExample, weight: 50 },
  },
})

export const deregisterInstance = defineOperation({
  id: 'deregisterInstance',
  method: 'DELETE',
  path: '/api/services/{name}/instances/{id}',
  tag: 'Services',
  summary: 'Deregister an instance',
  description:
    'It leaves every surface at once. Idempotent. With `incarnation`, a newer start of the same instance is left alone: a process that shuts down late cannot remove its successor.',
  effect: 'destructive',
  permission: 'instances.write',
  params: InstanceParams,
  query: Type.Object(
    { incarnation: Type.Optional(Type.Integer({ minimum: 1 })) },
    { additionalProperties: false },
  ),
  answers: { 204: { description: 'Gone.' } },
  errors: [],
  example: { as: 'service', params: { name: 'orders', id: example.instanceId }, status: 204 },
})
