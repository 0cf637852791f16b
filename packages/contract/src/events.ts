/** Facts. Each is one ledger entry and one CloudEvent: ids, names and addresses, never a secret value. */
import { Type } from 'typebox'
import { defineOperation, Page, pageOf } from './operation.ts'
import { ServiceName, Timestamp } from './names.ts'
import { example } from './example-values.ts'

/** Type names never change meaning. `haus.` keeps them apart when they are forwarded. */
export const eventTypes = [
  'haus.instance.registered',
  'haus.instance.changed',
  'haus.instance.deregistered',
  'haus.service.changed',
  'haus.service.forgotten',
  'haus.config.changed',
  'haus.credential.created',
  'haus.credential.changed',
  'haus.credential.deleted',
  'haus.key.created',
  'haus.key.revoked',
  'haus.operator.changed',
  'haus.route.changed',
  'haus.route.deleted',
] as const
export type EventType = (typeof eventTypes)[number]

export const eventRetentionDays = 7

export const CloudEvent = Type.Object(
  {
    specversion: Type.Literal('1.0'),
    id: Type.String({ description: 'The ledger index as a string; also the SSE id.' }),
    source: Type.String({ description: '/haus/<house id>' }),
    type: Type.String(),
    subject: Type.String({ description: 'What it is about, such as `services/orders`.' }),
    time: Timestamp,
    datacontenttype: Type.Literal('application/json'),
    data: Type.Record(Type.String(), Type.Unknown()),
  },
  { title: 'CloudEvent', description: 'CloudEvents 1.0, structured JSON.' },
)

export const streamEvents = defineOperation({
  id: 'streamEvents',
  method: 'GET',
  path: '/api/events',
  tag: 'Events and audit',
  summary: 'Follow what happens',
  description:
    'Server-sent events, each a CloudEvent whose SSE id is the ledger index. `Last-Event-ID` resumes after that index; `Last-Event-ID: 0` starts with the oldest that is kept. Without it the stream starts now. The stream names its place, an `id` without data, when it opens and every 15 s: a reader resumes there although it has seen no event. When the resume point is older than what is kept, an event `reset` says where the stream goes on: read the state again. A service sees its own events and the instances of what it depends on. The stream ends when its token ends.',
  effect: 'read',
  permission: 'events.read',
  query: Type.Object(
    {
      type: Type.Optional(
        Type.String({ maxLength: 64, description: 'A type, or a prefix that ends in a dot.' }),
      ),
      service: Type.Optional(ServiceName),
    },
    { additionalProperties: false },
  ),
  answers: { 200: { description: 'The stream.', contentType: 'text/event-stream' } },
  errors: ['overloaded'],
  example: { query: { type: 'haus.instance.' }, status: 200 },
})

export const auditOutcomes = ['allowed', 'denied', 'failed'] as const

export const AuditRecord = Type.Object(
  {
    id: Type.Integer({ description: 'Without gaps, in commit order.' }),
    time: Timestamp,
    actor: Type.String({ description: '`operator`, `service:<name>`, `anonymous` or `haus`.' }),
    action: Type.String({ description: 'The operation id.' }),
    target: Type.String({ description: 'Such as `credentials/orders-database`.' }),
    outcome: Type.Enum([...auditOutcomes]),
    code: Type.Union([Type.String(), Type.Null()], {
      description: 'The error code when it was refused.',
    }),
    source: Type.Union([Type.String(), Type.Null()], { description: 'The peer address.' }),
    requestId: Type.Union([Type.String(), Type.Null()]),
    detail: Type.Record(Type.String(), Type.Unknown()),
  },
  { title: 'AuditRecord' },
)

export const listAudit = defineOperation({
  id: 'listAudit',
  method: 'GET',
  path: '/api/audit',
  tag: 'Events and audit',
  summary: 'Who did what',
  description:
    'Newest first. Every change, every read of a secret and every refusal of one is here before its answer left.',
  effect: 'read',
  permission: 'audit.read',
  query: Type.Object(
    {
      ...Page,
      actor: Type.Optional(Type.String({ maxLength: 128 })),
      action: Type.Optional(Type.String({ maxLength: 64 })),
      target: Type.Optional(Type.String({ maxLength: 256 })),
      outcome: Type.Optional(Type.Enum([...auditOutcomes])),
    },
    { additionalProperties: false },
  ),
  answers: { 200: { description: 'A page of records.', schema: pageOf(AuditRecord) } },
  errors: [],
  example: {
    query: { action: 'revealCredential', limit: '1' },
    status: 200,
    answer: {
      items: [
        {
          id: 9,
          time: example.time,
          actor: 'operator',
          action: 'revealCredential',
          target: 'credentials/orders-database',
          outcome: 'allowed',
          code: null,
          source: '127.0.0.1',
          requestId: example.requestId,
          detail: { id: example.credentialId, version: 1 },
        },
      ],
      nextCursor: null,
    },
  },
})
