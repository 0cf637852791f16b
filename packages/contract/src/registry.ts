/** Services and their instances: registration, leases, configuration, discovery. */
import { Type } from 'typebox'
import { defineOperation, Page, pageOf } from './operation.ts'
import {
  CredentialName,
  credentialNameForm,
  credentialNamePattern,
  ServiceName,
  Timestamp,
  Uuid,
} from './names.ts'
import { GrantedCredential } from './credentials.ts'
import { example } from './example-values.ts'

export const heartbeatIntervalSeconds = 10
export const leaseTtlSeconds = 30
/** 0 takes no traffic, 100 is normal: a share can be read as a percentage. */
export const weightDefault = 100
export const configMaxBytes = 64 * 1024
/** A house is 5 to 200 services; these bound memory and answers, not ambition. */
export const servicesMax = 2_000
export const instancesPerServiceMax = 10_000
export const instancesMax = 100_000
/** An offline instance that has not been heard of for this long is forgotten. */
export const offlinePurgeHours = 24

/** One machine for every surface; the transitions are in the coordinator's registry feature. */
export const instanceStates = [
  'pending',
  'healthy',
  'degraded',
  'suspect',
  'offline',
  'draining',
  'maintenance',
  'unknown',
] as const
export type InstanceState = (typeof instanceStates)[number]

export const serviceHealths = ['healthy', 'degraded', 'offline', 'unknown'] as const
export type ServiceHealth = (typeof serviceHealths)[number]

const Port = Type.Integer({ minimum: 1, maximum: 65535 })
const Weight = Type.Integer({
  minimum: 0,
  maximum: 1000,
  description: '0 takes no traffic; 100 is normal.',
})
const Scheme = Type.Enum(['http', 'https', 'tcp'])
/** An IP literal, or a host name that an operator vouches for. */
const Address = Type.String({
  minLength: 1,
  maxLength: 253,
  pattern: '^[0-9A-Za-z]([0-9A-Za-z._:-]*[0-9A-Za-z:])?$|^::[0-9A-Fa-f:.]*$',
  'x-form': 'an IP address without brackets, or a host name',
  description: 'IPv4, IPv6 without brackets, or (operators only) a host name.',
})
const Version = Type.String({
  minLength: 1,
  maxLength: 64,
  pattern: '^[0-9A-Za-z][0-9A-Za-z._+-]*$',
  'x-form': 'a version such as `1.4.0`: letters, digits, `.`, `_`, `+`, `-`',
})
const Zone = Type.String({
  maxLength: 63,
  pattern: '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$',
  'x-form': 'lower-case letters, digits and hyphens, with a letter or digit at both ends',
})
const TagName = Type.String({
  minLength: 1,
  maxLength: 128,
  pattern: '^[\\x21-\\x7e]+$',
  'x-form': 'printable ASCII without spaces',
})
const Tags = Type.Array(TagName, { maxItems: 32, uniqueItems: true })
const Metadata = Type.Record(
  Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$' }),
  Type.String({ maxLength: 512 }),
  {
    maxProperties: 32,
    additionalProperties: false,
    'x-keys':
      'letters, digits, dots, underscores, slashes and hyphens, at most 63, beginning with a letter or digit',
  },
)
const Endpoint = Type.Object(
  {
    path: Type.String({
      minLength: 1,
      maxLength: 256,
      pattern: '^/[\\x21-\\x7e]*$',
      'x-form': 'a path that begins with a slash, in printable ASCII without spaces',
    }),
    methods: Type.Optional(
      Type.Array(Type.Enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']), {
        minItems: 1,
        maxItems: 7,
        uniqueItems: true,
      }),
    ),
    description: Type.Optional(Type.String({ maxLength: 256 })),
  },
  { additionalProperties: false },
)
const Endpoints = Type.Array(Endpoint, { maxItems: 64 })
const Config = Type.Object(
  {
    version: Type.Integer({ minimum: 0, description: '0: never set.' }),
    data: Type.Record(Type.String(), Type.Unknown()),
  },
  { title: 'Config' },
)

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

export const Instance = Type.Object(
  {
    id: Uuid,
    incarnation: Type.Integer(),
    version: Version,
    address: Type.String(),
    port: Port,
    scheme: Scheme,
    url: Type.Union([Type.String(), Type.Null()], { description: 'Null for `tcp`.' }),
    state: Type.Enum([...instanceStates]),
    reason: Type.Union([Type.String(), Type.Null()], { description: 'Why it is in this state.' }),
    weight: Weight,
    zone: Type.Union([Zone, Type.Null()]),
    tags: Tags,
    metadata: Metadata,
    healthEndpoint: Type.Union([Type.String(), Type.Null()]),
    leased: Type.Boolean({
      description: 'False: an operator registered it; its probe decides alone.',
    }),
    registeredAt: Timestamp,
    stateChangedAt: Timestamp,
  },
  { title: 'Instance' },
)

const ServiceSummary = Type.Object(
  {
    name: ServiceName,
    aliases: Type.Array(ServiceName),
    health: Type.Enum([...serviceHealths]),
    instances: Type.Integer({ description: 'Registered.' }),
    usable: Type.Integer({ description: 'Those that discovery hands out.' }),
    dependencies: Type.Array(ServiceName),
    tags: Type.Array(Type.String()),
    index: Type.Integer({ description: 'Of its last change.' }),
  },
  { title: 'ServiceSummary' },
)

const ServiceDetail = Type.Object(
  {
    name: ServiceName,
    aliases: Type.Array(ServiceName),
    health: Type.Enum([...serviceHealths]),
    dependencies: Type.Array(ServiceName),
    dependents: Type.Array(ServiceName),
    cycles: Type.Array(Type.Array(ServiceName), {
      description: 'Dependency cycles through this service; allowed, and worth a look.',
    }),
    endpoints: Endpoints,
    configVersion: Type.Integer(),
    instances: Type.Array(Instance),
    index: Type.Integer(),
  },
  { title: 'Service' },
)

const serviceParams = Type.Object({ name: ServiceName })
const instanceExample = {
  id: example.instanceId,
  incarnation: 1,
  version: '1.4.0',
  address: '127.0.0.1',
  port: 3000,
  scheme: 'http',
  url: 'http://127.0.0.1:3000',
  state: 'healthy',
  reason: null,
  weight: 100,
  zone: null,
  tags: ['http'],
  metadata: {},
  healthEndpoint: '/up',
  leased: true,
  registeredAt: example.time,
  stateChangedAt: example.time,
}

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

export const listServices = defineOperation({
  id: 'listServices',
  method: 'GET',
  path: '/api/services',
  tag: 'Services',
  summary: 'List services',
  effect: 'read',
  permission: 'services.read',
  query: Type.Object({ ...Page }, { additionalProperties: false }),
  answers: {
    200: {
      description: 'By name; a service sees itself and its dependencies.',
      schema: pageOf(ServiceSummary),
    },
  },
  errors: [],
  example: {
    status: 200,
    answer: {
      items: [
        {
          name: 'orders',
          aliases: [],
          health: 'healthy',
          instances: 1,
          usable: 1,
          dependencies: [],
          tags: ['http'],
          index: 5,
        },
      ],
      nextCursor: null,
    },
  },
})

const serviceExample = {
  name: 'orders',
  aliases: [],
  health: 'healthy',
  dependencies: [],
  dependents: [],
  cycles: [],
  endpoints: [{ path: '/orders', methods: ['GET', 'POST'] }],
  configVersion: 0,
  instances: [instanceExample],
  index: 5,
}

export const getService = defineOperation({
  id: 'getService',
  method: 'GET',
  path: '/api/services/{name}',
  tag: 'Services',
  summary: 'Show a service and its instances',
  effect: 'read',
  permission: 'services.read',
  params: serviceParams,
  answers: { 200: { description: 'The service.', schema: ServiceDetail } },
  errors: ['service_not_found'],
  example: { params: { name: 'orders' }, status: 200, answer: serviceExample },
})

export const updateService = defineOperation({
  id: 'updateService',
  method: 'PATCH',
  path: '/api/services/{name}',
  tag: 'Services',
  summary: 'Set the aliases of a service',
  description: 'An alias is valid wherever the name is, and unique in the house.',
  effect: 'write',
  permission: 'services.manage',
  params: serviceParams,
  body: Type.Object(
    { aliases: Type.Array(ServiceName, { maxItems: 16, uniqueItems: true }) },
    { additionalProperties: false },
  ),
  answers: { 200: { description: 'The service.', schema: ServiceDetail } },
  errors: ['service_not_found', 'name_taken', 'version_conflict'],
  example: {
    params: { name: 'orders' },
    body: { aliases: ['zimmer-21'] },
    status: 200,
    answer: { ...serviceExample, aliases: ['zimmer-21'] },
  },
})

export const deleteService = defineOperation({
  id: 'deleteService',
  method: 'DELETE',
  path: '/api/services/{name}',
  tag: 'Services',
  summary: 'Remove the instances of a service',
  description: 'Keys, grants, aliases and configuration stay. Idempotent.',
  effect: 'destructive',
  permission: 'services.manage',
  params: serviceParams,
  answers: { 204: { description: 'Its instances are gone.' } },
  errors: ['service_not_found'],
  example: { params: { name: 'orders' }, status: 204 },
})

export const getServiceConfig = defineOperation({
  id: 'getServiceConfig',
  method: 'GET',
  path: '/api/services/{name}/config',
  tag: 'Services',
  summary: 'The configuration of a service',
  description: 'Not for secrets: those are credentials.',
  effect: 'read',
  permission: 'config.read',
  params: serviceParams,
  answers: {
    200: {
      description: 'Version 0 and empty when never set.',
      schema: Config,
      headers: { ETag: 'The version.' },
    },
    304: { description: 'Nothing has changed since that `ETag`.' },
  },
  errors: [],
  example: { params: { name: 'orders' }, status: 200, answer: { version: 0, data: {} } },
})

export const putServiceConfig = defineOperation({
  id: 'putServiceConfig',
  method: 'PUT',
  path: '/api/services/{name}/config',
  tag: 'Services',
  summary: 'Replace the configuration of a service',
  description:
    '64 KiB at most. Running instances learn of it with their next heartbeat or from the event stream.',
  effect: 'write',
  permission: 'config.write',
  params: serviceParams,
  bodyLimitBytes: configMaxBytes + 1024,
  body: Type.Object(
    {
      data: Type.Record(Type.String({ pattern: '^[^\\x00-\\x1f\\x7f]{1,128}$' }), Type.Unknown(), {
        maxProperties: 1024,
        additionalProperties: false,
        'x-keys': 'a name of 1 to 128 characters without control characters',
      }),
      cas: Type.Optional(Type.Integer({ minimum: 0 })),
    },
    { additionalProperties: false },
  ),
  answers: { 200: { description: 'The new version.', schema: Config } },
  errors: ['version_conflict', 'limit_reached'],
  example: {
    params: { name: 'orders' },
    body: { data: { pageSize: 50 }, cas: 0 },
    status: 200,
    answer: { version: 1, data: { pageSize: 50 } },
  },
})

/** An instance as discovery shows it. */
export const DiscoveredInstance = Type.Object(
  {
    id: Uuid,
    address: Type.String(),
    port: Port,
    scheme: Scheme,
    url: Type.Union([Type.String(), Type.Null()]),
    health: Type.Enum([...instanceStates]),
    weight: Weight,
    version: Version,
    zone: Type.Union([Zone, Type.Null()]),
    tags: Tags,
    metadata: Metadata,
  },
  { title: 'DiscoveredInstance' },
)

export const discover = defineOperation({
  id: 'discover',
  method: 'GET',
  path: '/api/discover',
  tag: 'Discovery',
  summary: 'Find a service',
  description:
    '`address` and `port` are the balancer’s pick for this call; `instances` are all that can serve. Answered from memory: it works while the database is away, and `Haus-Age-Ms` says how old the knowledge is.',
  effect: 'read',
  permission: 'discovery.read',
  query: Type.Object(
    {
      service: ServiceName,
      tag: Type.Optional(TagName),
      zone: Type.Optional(Zone),
      version: Type.Optional(Version),
    },
    { additionalProperties: false },
  ),
  answers: {
    200: {
      description: 'Known. `address` is null when nothing can serve.',
      schema: Type.Object({
        service: ServiceName,
        address: Type.Union([Type.String(), Type.Null()]),
        port: Type.Union([Port, Type.Null()]),
        url: Type.Union([Type.String(), Type.Null()]),
        health: Type.Enum([...serviceHealths]),
        loadBalancing: Type.Object({
          strategy: Type.Literal('power-of-two-choices'),
          candidates: Type.Integer(),
        }),
        endpoints: Endpoints,
        instances: Type.Array(DiscoveredInstance),
        index: Type.Integer({ description: 'Of the last change of this service.' }),
      }),
      headers: {
        'Haus-Index': 'The index of the house that the answer was made at.',
        'Haus-Age-Ms':
          'Milliseconds since this process last knew that it was up to date; 0 in normal work.',
      },
    },
  },
  errors: ['service_not_found'],
  example: {
    as: 'service',
    query: { service: 'orders' },
    status: 200,
    answer: {
      service: 'orders',
      address: '127.0.0.1',
      port: 3000,
      url: 'http://127.0.0.1:3000',
      health: 'healthy',
      loadBalancing: { strategy: 'power-of-two-choices', candidates: 1 },
      endpoints: [{ path: '/orders', methods: ['GET', 'POST'] }],
      instances: [
        {
          id: example.instanceId,
          address: '127.0.0.1',
          port: 3000,
          scheme: 'http',
          url: 'http://127.0.0.1:3000',
          health: 'healthy',
          weight: 100,
          version: '1.4.0',
          zone: null,
          tags: ['http'],
          metadata: {},
        },
      ],
      index: 5,
    },
  },
})
