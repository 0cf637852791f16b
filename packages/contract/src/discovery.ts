/** Finding a service. */
import { Type } from 'typebox'
import { defineOperation, viewHeaders } from './operation.ts'
import { example } from './example-values.ts'
import { ServiceName, Uuid } from './names.ts'
import {
  Endpoints,
  Metadata,
  Port,
  Scheme,
  TagName,
  Tags,
  Version,
  Weight,
  Zone,
  instanceStates,
  serviceHealths,
} from './instance-shapes.ts'

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
      headers: viewHeaders,
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
