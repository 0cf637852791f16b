/** Services as a whole: what is known of them, their aliases and their configuration. */
import { Type } from 'typebox'
import { defineOperation, Page, pageOf, viewHeaders } from './operation.ts'
import { ServiceName } from './names.ts'
import {
  Config,
  Endpoints,
  HealthInterval,
  Instance,
  configMaxBytes,
  healthIntervalSecondsDefault,
  instanceExample,
  serviceHealths,
} from './instance-shapes.ts'

/** A house of 200 services, and as many again: a service whom all may call needs no list. */
const callersMax = 400

const serviceParams = Type.Object({ name: ServiceName })

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
    callers: Type.Union([Type.Array(ServiceName), Type.Null()], {
      description: 'Who may call it through the gateway; null: every service.',
    }),
    health: Type.Enum([...serviceHealths]),
    dependencies: Type.Array(ServiceName),
    dependents: Type.Array(ServiceName),
    cycles: Type.Array(Type.Array(ServiceName), {
      description: 'Dependency cycles through this service; allowed, and worth a look.',
    }),
    endpoints: Endpoints,
    healthIntervalSeconds: HealthInterval,
    configVersion: Type.Integer(),
    instances: Type.Array(Instance),
    index: Type.Integer(),
  },
  { title: 'Service' },
)

const serviceExample = {
  name: 'orders',
  aliases: [],
  callers: null,
  health: 'healthy',
  dependencies: [],
  dependents: [],
  cycles: [],
  endpoints: [{ path: '/orders', methods: ['GET', 'POST'] }],
  healthIntervalSeconds: healthIntervalSecondsDefault,
  configVersion: 0,
  instances: [instanceExample],
  index: 5,
}

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
      headers: viewHeaders,
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

export const getService = defineOperation({
  id: 'getService',
  method: 'GET',
  path: '/api/services/{name}',
  tag: 'Services',
  summary: 'Show a service and its instances',
  effect: 'read',
  permission: 'services.read',
  params: serviceParams,
  answers: {
    200: { description: 'The service.', schema: ServiceDetail, headers: viewHeaders },
  },
  errors: ['service_not_found'],
  example: { params: { name: 'orders' }, status: 200, answer: serviceExample },
})

export const updateService = defineOperation({
  id: 'updateService',
  method: 'PATCH',
  path: '/api/services/{name}',
  tag: 'Services',
  summary: 'Set the aliases and callers of a service, and how often it is checked',
  description:
    'What is absent stays as it is. An alias is valid wherever the name is, and unique in the house. A name with live keys or grants of its own is refused: behind an alias they would be out of reach. `callers` are the services that may call it through the gateway; null lets every service. A registration that names `healthIntervalSeconds` sets it again.',
  effect: 'write',
  permission: 'services.manage',
  params: serviceParams,
  body: Type.Object(
    {
      aliases: Type.Optional(Type.Array(ServiceName, { maxItems: 16, uniqueItems: true })),
      healthIntervalSeconds: Type.Optional(HealthInterval),
      callers: Type.Optional(
        Type.Union([
          Type.Array(ServiceName, { maxItems: callersMax, uniqueItems: true }),
          Type.Null(),
        ]),
      ),
    },
    { additionalProperties: false, minProperties: 1 },
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
  summary: 'Remove the instances of a service, or forget it',
  description:
    'Keys, grants, aliases and configuration stay. Idempotent. With `forget` the service itself goes too, with its aliases, callers and configuration, and its place in the limits of the house is free; keys and grants stay with the name. A configuration of a name that never registered goes the same way. An instance that is alive and has a lease registers again by itself.',
  effect: 'destructive',
  permission: 'services.manage',
  params: serviceParams,
  query: Type.Object(
    { forget: Type.Optional(Type.Boolean({ description: 'Default: false.' })) },
    { additionalProperties: false },
  ),
  answers: { 204: { description: 'Its instances are gone, and so is the service if asked.' } },
  errors: ['service_not_found', 'version_conflict'],
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
      headers: { ETag: 'The version.', ...viewHeaders },
    },
    304: { description: 'Nothing has changed since that `ETag`.', headers: viewHeaders },
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
