/** The health of the house and of its services. Probes for machines are apart from reports for people. */
import { Type } from 'typebox'
import { defineOperation, Page, pageOf, viewHeaders } from './operation.ts'
import { ServiceName, Timestamp, Uuid } from './names.ts'
import {
  HealthInterval,
  checksKeptMax,
  healthIntervalSecondsDefault,
  instanceStates,
  serviceHealths,
} from './instance-shapes.ts'
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

const monitorFields = {
  instances: Type.Integer({ description: 'Instances that are watched.' }),
  checksPerSecond: Type.Number({ description: 'Over the last minute.' }),
  lateP99Ms: Type.Number({
    description:
      'Of the last 2,048 checks: how long after its due time a check began. Above 1000 the house has more to check than it manages.',
  }),
}

const monitorExample = { instances: 1, checksPerSecond: 0.1, lateP99Ms: 1.5 }

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
        monitor: Type.Object(monitorFields),
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
      monitor: monitorExample,
      writes: 'available',
      index: 5,
      ageMs: 0,
    },
  },
})

const Uptime = Type.Union([Type.Number({ minimum: 0, maximum: 1 }), Type.Null()], {
  description:
    'Share of the observed time of the last 24 hours in which its checks passed; null: not observed.',
})

const LastFailure = Type.Union(
  [Type.Object({ reason: Type.String(), at: Timestamp }), Type.Null()],
  { description: 'The last check that failed.' },
)

const ServiceHealthReport = Type.Object(
  {
    service: ServiceName,
    health: Type.Enum([...serviceHealths]),
    healthIntervalSeconds: HealthInterval,
    instances: Type.Array(
      Type.Object({
        id: Uuid,
        address: Type.String(),
        port: Type.Integer(),
        state: Type.Enum([...instanceStates]),
        reason: Type.Union([Type.String(), Type.Null()]),
        stateChangedAt: Timestamp,
        latencyMs: Type.Union([Type.Number(), Type.Null()], { description: 'Of the last check.' }),
        checkedAt: Type.Union([Timestamp, Type.Null()]),
        lastFailure: LastFailure,
        uptime24h: Uptime,
      }),
    ),
  },
  { title: 'ServiceHealthReport' },
)

const reportExample = {
  service: 'orders',
  health: 'healthy',
  healthIntervalSeconds: healthIntervalSecondsDefault,
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
      lastFailure: null,
      uptime24h: 1,
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

export const getInstanceChecks = defineOperation({
  id: 'getInstanceChecks',
  method: 'GET',
  path: '/api/services/{name}/instances/{id}/checks',
  tag: 'Health',
  summary: 'The last checks of an instance',
  description: `At most ${checksKeptMax}, and fewer in a house of more than 10,000 instances. From memory: also while the database is away. A restart keeps them; a process that is killed loses the last minute or, in a house of 10,000, the last three.`,
  effect: 'read',
  permission: 'services.read',
  params: Type.Object({ name: ServiceName, id: Uuid }),
  answers: {
    200: {
      description: 'The newest first.',
      schema: Type.Object({
        service: ServiceName,
        instanceId: Uuid,
        state: Type.Enum([...instanceStates]),
        reason: Type.Union([Type.String(), Type.Null()]),
        healthIntervalSeconds: HealthInterval,
        uptime24h: Uptime,
        observedSeconds: Type.Integer({
          description: 'Of the last 24 hours; without the times in which nobody looked.',
        }),
        lastFailure: LastFailure,
        checks: Type.Array(
          Type.Object({
            at: Timestamp,
            ok: Type.Boolean(),
            latencyMs: Type.Number(),
            reason: Type.Union([Type.String(), Type.Null()], {
              description: 'Why it failed, or why it passed as degraded.',
            }),
          }),
          { maxItems: checksKeptMax },
        ),
      }),
      headers: viewHeaders,
    },
  },
  errors: ['service_not_found', 'instance_not_found'],
  example: {
    params: { name: 'orders', id: example.instanceId },
    status: 200,
    answer: {
      service: 'orders',
      instanceId: example.instanceId,
      state: 'healthy',
      reason: null,
      healthIntervalSeconds: healthIntervalSecondsDefault,
      uptime24h: 1,
      observedSeconds: 12,
      lastFailure: null,
      checks: [{ at: example.time, ok: true, latencyMs: 1.2, reason: null }],
    },
  },
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
        monitor: Type.Object({
          ...monitorFields,
          underWay: Type.Integer({ description: 'Checks that wait for an answer; 64 at most.' }),
          overdue: Type.Integer({ description: 'Checks that are due and wait for a place.' }),
          unjudged: Type.Integer({
            description:
              'Checks since the start that said nothing, because this process itself stood still or had no port or file left; they count for nobody.',
          }),
          resultsUnwritten: Type.Integer({
            description: 'Results that are in memory only; a minute’s worth is normal.',
          }),
          resultsDropped: Type.Integer({
            description:
              'Results since the start that made room for newer ones before they could be written.',
          }),
        }),
        streams: Type.Integer(),
        integrityFailures: Type.Integer({
          description:
            'Rows and aliases since the start that Haus did not write as they are; each was refused.',
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
      monitor: {
        ...monitorExample,
        underWay: 0,
        overdue: 0,
        unjudged: 0,
        resultsUnwritten: 1,
        resultsDropped: 0,
      },
      streams: 0,
      integrityFailures: 0,
    },
  },
})
