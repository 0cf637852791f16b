/** The health of the house and of its services. Probes for machines are apart from reports for people. */
import { Type } from 'typebox'
import { defineOperation, Page, pageOf, viewHeaders } from './operation.ts'
import { ServiceName, Timestamp, Uuid } from './names.ts'
import { instanceStates, serviceHealths } from './instance-shapes.ts'
import { example } from './example-values.ts'

const Readiness = Type.Object(
  {
    status: Type.Enum(['ready', 'starting', 'draining']),
    writes: Type.Enum(['available', 'unavailable']),
  },
  { title: 'Readiness' },
)

const readyAnswers = {
  200: { description: 'A view can be served.', schema: Readiness },
  503: { description: 'Before the first view, and while draining.', schema: Readiness },
} as const

export const getLive = defineOperation({
  id: 'getLive',
  method: 'GET',
  path: '/health/live',
  tag: 'Health',
  summary: 'Is the process alive',
  effect: 'read',
  permission: 'public',
  answers: {
    200: { description: 'Alive.', schema: Type.Object({ status: Type.Literal('alive') }) },
  },
  errors: [],
  example: { as: 'nobody', status: 200, answer: { status: 'alive' } },
})

export const getReady = defineOperation({
  id: 'getReady',
  method: 'GET',
  path: '/health/ready',
  tag: 'Health',
  summary: 'Can the house serve',
  description: 'Stays 200 while the database is away: reads go on, and `writes` says so.',
  effect: 'read',
  permission: 'public',
  answers: readyAnswers,
  errors: [],
  example: { as: 'nobody', status: 200, answer: { status: 'ready', writes: 'available' } },
})

export const getHealth = defineOperation({
  id: 'getHealth',
  method: 'GET',
  path: '/health',
  tag: 'Health',
  summary: 'The same as /health/ready',
  effect: 'read',
  permission: 'public',
  answers: readyAnswers,
  errors: [],
  example: { as: 'nobody', status: 200, answer: { status: 'ready', writes: 'available' } },
})

const Counts = Type.Object({
  healthy: Type.Integer(),
  degraded: Type.Integer(),
  offline: Type.Integer(),
  unknown: Type.Integer(),
})

export const getHouseHealth = defineOperation({
  id: 'getHouseHealth',
  method: 'GET',
  path: '/api/health',
  tag: 'Health',
  summary: 'The health of the house in one line',
  effect: 'read',
  permission: 'discovery.read',
  answers: {
    200: {
      description: 'The worst of its services, and how many there are of each.',
      schema: Type.Object({
        status: Type.Enum([...serviceHealths]),
        services: Counts,
        writes: Type.Enum(['available', 'unavailable']),
        index: Type.Integer(),
        ageMs: Type.Integer(),
      }),
      headers: viewHeaders,
    },
  },
  errors: [],
  example: {
    status: 200,
    answer: {
      status: 'healthy',
      services: { healthy: 1, degraded: 0, offline: 0, unknown: 0 },
      writes: 'available',
      index: 5,
      ageMs: 0,
    },
  },
})

const ServiceHealthReport = Type.Object(
  {
    service: ServiceName,
    health: Type.Enum([...serviceHealths]),
    instances: Type.Array(
      Type.Object({
        id: Uuid,
        address: Type.String(),
        port: Type.Integer(),
        state: Type.Enum([...instanceStates]),
        reason: Type.Union([Type.String(), Type.Null()]),
        stateChangedAt: Timestamp,
        latencyMs: Type.Union([Type.Number(), Type.Null()], { description: 'Of the last probe.' }),
        checkedAt: Type.Union([Timestamp, Type.Null()]),
      }),
    ),
  },
  { title: 'ServiceHealthReport' },
)

const reportExample = {
  service: 'orders',
  health: 'healthy',
  instances: [
    {
      id: example.instanceId,
      address: '127.0.0.1',
      port: 3000,
      state: 'healthy',
      reason: null,
      stateChangedAt: example.time,
      latencyMs: 1.2,
      checkedAt: example.time,
    },
  ],
}

export const getServicesHealth = defineOperation({
  id: 'getServicesHealth',
  method: 'GET',
  path: '/api/health/services',
  tag: 'Health',
  summary: 'The health of every service',
  effect: 'read',
  permission: 'services.read',
  query: Type.Object({ ...Page }, { additionalProperties: false }),
  answers: {
    200: { description: 'By name.', schema: pageOf(ServiceHealthReport), headers: viewHeaders },
  },
  errors: [],
  example: { status: 200, answer: { items: [reportExample], nextCursor: null } },
})

export const getServiceHealth = defineOperation({
  id: 'getServiceHealth',
  method: 'GET',
  path: '/api/services/{name}/health',
  tag: 'Health',
  summary: 'The health of one service',
  effect: 'read',
  permission: 'services.read',
  params: Type.Object({ name: ServiceName }),
  answers: {
    200: {
      description: 'Its instances, with reasons.',
      schema: ServiceHealthReport,
      headers: viewHeaders,
    },
  },
  errors: ['service_not_found'],
  example: { params: { name: 'orders' }, status: 200, answer: reportExample },
})

export const getSystemHealth = defineOperation({
  id: 'getSystemHealth',
  method: 'GET',
  path: '/api/health/system',
  tag: 'Health',
  summary: 'The health of this process',
  effect: 'read',
  permission: 'system.read',
  answers: {
    200: {
      description: 'What an operator looks at first.',
      schema: Type.Object({
        version: Type.String(),
        startedAt: Timestamp,
        uptimeSeconds: Type.Integer(),
        memoryBytes: Type.Integer({ description: 'Resident.' }),
        eventLoopLagMs: Type.Number({ description: '99th percentile of the last minute.' }),
        database: Type.Object({
          kind: Type.Enum(['embedded', 'postgres']),
          available: Type.Boolean(),
          error: Type.Union([Type.String(), Type.Null()]),
        }),
        ledger: Type.Object({
          index: Type.Integer(),
          queued: Type.Integer(),
          flushP99Ms: Type.Number(),
        }),
        view: Type.Object({
          index: Type.Integer(),
          ageMs: Type.Integer(),
          services: Type.Integer(),
          instances: Type.Integer(),
        }),
        streams: Type.Integer(),
        integrityFailures: Type.Integer({
          description:
            'Rows whose message authentication code was wrong since the start; each was refused.',
        }),
      }),
    },
  },
  errors: [],
  example: {
    status: 200,
    answer: {
      version: '0.1.0',
      startedAt: example.time,
      uptimeSeconds: 12,
      memoryBytes: 201326592,
      eventLoopLagMs: 1.1,
      database: { kind: 'embedded', available: true, error: null },
      ledger: { index: 5, queued: 0, flushP99Ms: 1.8 },
      view: { index: 5, ageMs: 0, services: 1, instances: 1 },
      streams: 0,
      integrityFailures: 0,
    },
  },
})
