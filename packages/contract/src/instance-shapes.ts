/** What instances and services are made of: limits, states and the schemas that several operations share. */
import { Type } from 'typebox'
import { Timestamp, Uuid } from './names.ts'
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
/** How often each instance of a service is checked, unless the service says otherwise. */
export const healthIntervalSecondsDefault = 30
/** Of each instance; more of them are kept by whatever reads them. */
export const checksKeptMax = 100
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

export const Port = Type.Integer({ minimum: 1, maximum: 65535 })
export const Weight = Type.Integer({
  minimum: 0,
  maximum: 1000,
  description: '0 takes no traffic; 100 is normal.',
})
export const HealthInterval = Type.Integer({
  minimum: 5,
  maximum: 3600,
  description: 'Seconds between two checks of each instance, while nothing is wrong with it.',
})
export const Scheme = Type.Enum(['http', 'https', 'tcp'])
/** An IP literal, or a host name that an operator vouches for. */
export const Address = Type.String({
  minLength: 1,
  maxLength: 253,
  pattern: '^[0-9A-Za-z]([0-9A-Za-z._:-]*[0-9A-Za-z:])?$|^::[0-9A-Fa-f:.]*$',
  'x-form': 'an IP address without brackets, or a host name',
  description: 'IPv4, IPv6 without brackets, or (operators only) a host name.',
})
export const Version = Type.String({
  minLength: 1,
  maxLength: 64,
  pattern: '^[0-9A-Za-z][0-9A-Za-z._+-]*$',
  'x-form': 'a version such as `1.4.0`: letters, digits, `.`, `_`, `+`, `-`',
})
export const Zone = Type.String({
  maxLength: 63,
  pattern: '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$',
  'x-form': 'lower-case letters, digits and hyphens, with a letter or digit at both ends',
})
export const TagName = Type.String({
  minLength: 1,
  maxLength: 128,
  pattern: '^[\\x21-\\x7e]+$',
  'x-form': 'printable ASCII without spaces',
})
export const Tags = Type.Array(TagName, { maxItems: 32, uniqueItems: true })
export const Metadata = Type.Record(
  Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$' }),
  Type.String({ maxLength: 512 }),
  {
    maxProperties: 32,
    additionalProperties: false,
    'x-keys':
      'letters, digits, dots, underscores, slashes and hyphens, at most 63, beginning with a letter or digit',
  },
)
export const httpMethods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const
/** Items have a type: whether those without one are unique takes a comparison of each pair. */
export const Methods = Type.Array(Type.Enum([...httpMethods], { type: 'string' }), {
  minItems: 1,
  maxItems: httpMethods.length,
  uniqueItems: true,
})
export const Endpoint = Type.Object(
  {
    path: Type.String({
      minLength: 1,
      maxLength: 256,
      pattern: '^/[\\x21-\\x7e]*$',
      'x-form': 'a path that begins with a slash, in printable ASCII without spaces',
    }),
    methods: Type.Optional(Methods),
    description: Type.Optional(Type.String({ maxLength: 256 })),
  },
  { additionalProperties: false },
)
export const Endpoints = Type.Array(Endpoint, { maxItems: 64 })
export const Config = Type.Object(
  {
    version: Type.Integer({ minimum: 0, description: '0: never set.' }),
    data: Type.Record(Type.String(), Type.Unknown()),
  },
  { title: 'Config' },
)

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

export const instanceExample = {
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
