/**
 * The front door. On the gateway's own address `/{service}/...` and the host
 * `{service}.<gateway domain>` reach a service with a token of the audience `haus-gateway`; what
 * strangers may reach without one is published here, route by route.
 */
import { Type } from 'typebox'
import { defineOperation, Page, pageOf } from './operation.ts'
import { example } from './example-values.ts'
import { httpMethods, instanceStates, Methods } from './instance-shapes.ts'
import { ServiceName, Timestamp, Uuid } from './names.ts'

/** Looked through for every request; a house is 5 to 200 services. */
export const publishedRoutesMax = 1_000
/** A body that a route does not say otherwise about. */
export const gatewayBodyMaxBytes = 10 * 1024 * 1024
const routeBodyMaxBytes = 1024 * 1024 * 1024
/** What `POST /api/gateway/proxy` takes: it travels in JSON, larger bodies go to the gateway itself. */
export const proxyBodyMaxBytes = 1024 * 1024
export const breakerStates = ['closed', 'open', 'half-open'] as const
export type BreakerState = (typeof breakerStates)[number]

const RouteHost = Type.String({
  maxLength: 253,
  pattern: '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$',
  'x-form': 'a host name in lower case, without port',
  description: 'The request’s host, without port. Absent or null: every host.',
})
const PathPrefix = Type.String({
  minLength: 1,
  maxLength: 256,
  pattern: "^/$|^(/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*)+$",
  'x-form':
    'a path that begins with a slash and ends without one, of plain segments, such as `/shop`',
  description:
    'Whole segments: `/shop` takes `/shop` and `/shop/cart`, and not `/shopping`. The longest prefix wins.',
})

const routeFields = {
  host: Type.Optional(Type.Union([RouteHost, Type.Null()])),
  pathPrefix: PathPrefix,
  methods: Type.Optional(
    Type.Union([Methods, Type.Null()], { description: 'Absent or null: all of them.' }),
  ),
  service: ServiceName,
  stripPrefix: Type.Boolean({
    description: 'The service sees the path without the prefix, and `X-Forwarded-Prefix` with it.',
  }),
  bodyMaxBytes: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: routeBodyMaxBytes,
      default: gatewayBodyMaxBytes,
      description: 'A larger body is refused with 413.',
    }),
  ),
  retryIdempotencyKey: Type.Optional(
    Type.Boolean({
      default: false,
      description:
        'The service knows `Idempotency-Key`: a request that carries one may be sent to a second instance when the first fell silent.',
    }),
  ),
}

export const PublishedRoute = Type.Object(
  {
    id: Uuid,
    host: Type.Union([RouteHost, Type.Null()]),
    pathPrefix: PathPrefix,
    methods: Type.Union([Methods, Type.Null()]),
    service: ServiceName,
    stripPrefix: Type.Boolean(),
    bodyMaxBytes: Type.Integer(),
    retryIdempotencyKey: Type.Boolean(),
    revision: Type.Integer({ description: 'Counts the changes; `cas` of the next one.' }),
    createdAt: Timestamp,
    updatedAt: Timestamp,
  },
  { title: 'PublishedRoute' },
)

const routeParams = Type.Object({ id: Uuid })

const routeExample = {
  id: example.routeId,
  host: 'shop.example',
  pathPrefix: '/orders',
  methods: ['GET', 'POST'],
  service: 'orders',
  stripPrefix: true,
  bodyMaxBytes: gatewayBodyMaxBytes,
  retryIdempotencyKey: false,
  revision: 1,
  createdAt: example.time,
  updatedAt: example.time,
}

export const createGatewayRoute = defineOperation({
  id: 'createGatewayRoute',
  method: 'POST',
  path: '/api/gateway/routes',
  tag: 'Gateway',
  summary: 'Publish a route',
  description:
    'Makes a part of a service public: whoever reaches the gateway reaches it, without a token. The service need not have registered yet.',
  effect: 'write',
  permission: 'gateway.manage',
  body: Type.Object(routeFields, { additionalProperties: false }),
  answers: { 201: { description: 'Published.', schema: PublishedRoute } },
  errors: ['route_taken', 'limit_reached'],
  example: {
    body: {
      host: 'shop.example',
      pathPrefix: '/orders',
      methods: ['GET', 'POST'],
      service: 'orders',
      stripPrefix: true,
    },
    status: 201,
    answer: routeExample,
  },
})

export const listGatewayRoutes = defineOperation({
  id: 'listGatewayRoutes',
  method: 'GET',
  path: '/api/gateway/routes',
  tag: 'Gateway',
  summary: 'List published routes',
  effect: 'read',
  permission: 'gateway.manage',
  query: Type.Object({ ...Page }, { additionalProperties: false }),
  answers: { 200: { description: 'Oldest first.', schema: pageOf(PublishedRoute) } },
  errors: [],
  example: { status: 200, answer: { items: [routeExample], nextCursor: null } },
})

export const getGatewayRoute = defineOperation({
  id: 'getGatewayRoute',
  method: 'GET',
  path: '/api/gateway/routes/{id}',
  tag: 'Gateway',
  summary: 'Show a published route',
  effect: 'read',
  permission: 'gateway.manage',
  params: routeParams,
  answers: { 200: { description: 'The route.', schema: PublishedRoute } },
  errors: ['gateway_route_not_found'],
  example: { params: { id: example.routeId }, status: 200, answer: routeExample },
})

export const updateGatewayRoute = defineOperation({
  id: 'updateGatewayRoute',
  method: 'PUT',
  path: '/api/gateway/routes/{id}',
  tag: 'Gateway',
  summary: 'Replace a published route',
  description: '`cas` is the revision that was read; another one is a 409 and changes nothing.',
  effect: 'write',
  permission: 'gateway.manage',
  params: routeParams,
  body: Type.Object(
    { ...routeFields, cas: Type.Integer({ minimum: 1 }) },
    { additionalProperties: false },
  ),
  answers: { 200: { description: 'The route as it is now.', schema: PublishedRoute } },
  errors: ['gateway_route_not_found', 'route_taken', 'version_conflict'],
  example: {
    params: { id: example.routeId },
    body: {
      host: 'shop.example',
      pathPrefix: '/orders',
      methods: ['GET'],
      service: 'orders',
      stripPrefix: true,
      cas: 1,
    },
    status: 200,
    answer: { ...routeExample, methods: ['GET'], revision: 2 },
  },
})

export const deleteGatewayRoute = defineOperation({
  id: 'deleteGatewayRoute',
  method: 'DELETE',
  path: '/api/gateway/routes/{id}',
  tag: 'Gateway',
  summary: 'Withdraw a published route',
  description: 'Idempotent. Requests under way finish.',
  effect: 'destructive',
  permission: 'gateway.manage',
  params: routeParams,
  answers: { 204: { description: 'It is public no more.' } },
  errors: [],
  example: { params: { id: example.routeId }, status: 204 },
})

const GatewayInstance = Type.Object({
  id: Uuid,
  address: Type.String(),
  port: Type.Integer(),
  state: Type.Enum([...instanceStates]),
  serves: Type.Boolean({ description: 'The balancer may pick it now.' }),
  withheld: Type.Boolean({
    description: 'The gateway itself saw it refuse or reset and waits for the next probe.',
  }),
  breaker: Type.Enum([...breakerStates]),
  inFlight: Type.Integer(),
  connections: Type.Integer({ description: 'Kept open and idle.' }),
  latencyMs: Type.Union([Type.Number(), Type.Null()], {
    description: 'To the first byte, the average of the last seconds; null: not yet known.',
  }),
})

const GatewayService = Type.Object(
  {
    service: ServiceName,
    active: Type.Integer({ description: 'Requests under way.' }),
    waiting: Type.Integer({ description: 'Requests that wait for a place.' }),
    panic: Type.Boolean({
      description:
        'More than half of the instances are ejected, so that breakers are ignored: that many failures at once are rarely the instances’.',
    }),
    requests: Type.Integer({ description: 'Since the start.' }),
    failures: Type.Integer({ description: 'Of them answered with 502, 503 or 504.' }),
    retries: Type.Integer(),
    instances: Type.Array(GatewayInstance),
  },
  { title: 'GatewayService' },
)

export const getGatewayStatus = defineOperation({
  id: 'getGatewayStatus',
  method: 'GET',
  path: '/api/gateway/status',
  tag: 'Gateway',
  summary: 'How the gateway stands',
  description:
    'What its own thread says of itself: instances, breakers and what is in flight, by service.',
  effect: 'read',
  permission: 'gateway.manage',
  query: Type.Object(
    { service: Type.Optional(ServiceName), ...Page },
    { additionalProperties: false },
  ),
  answers: {
    200: {
      description: 'By name of the service.',
      schema: Type.Object({
        url: Type.String(),
        domain: Type.String(),
        connections: Type.Integer({ description: 'Of clients.' }),
        inFlight: Type.Integer(),
        routes: Type.Integer({ description: 'Published.' }),
        index: Type.Integer({
          description: 'Of the house, as its thread knows it; behind `Haus-Index` by milliseconds.',
        }),
        items: Type.Array(GatewayService),
        nextCursor: Type.Union([Type.String(), Type.Null()]),
      }),
    },
  },
  errors: ['overloaded'],
  example: {
    query: { service: 'orders' },
    status: 200,
    answer: {
      url: 'http://127.0.0.1:8088',
      domain: 'haus.localhost',
      connections: 0,
      inFlight: 0,
      routes: 1,
      index: 6,
      items: [
        {
          service: 'orders',
          active: 0,
          waiting: 0,
          panic: false,
          requests: 1,
          failures: 0,
          retries: 0,
          instances: [
            {
              id: example.instanceId,
              address: '127.0.0.1',
              port: 3000,
              state: 'healthy',
              serves: true,
              withheld: false,
              breaker: 'closed',
              inFlight: 0,
              connections: 1,
              latencyMs: 1.5,
            },
          ],
        },
      ],
      nextCursor: null,
    },
  },
})

export const proxyRequest = defineOperation({
  id: 'proxyRequest',
  method: 'POST',
  path: '/api/gateway/proxy',
  tag: 'Gateway',
  summary: 'Send a request to a service',
  description:
    'For callers that reach the API and not the gateway, such as the API page. The answer is the service’s own: its status, headers and body, streamed, without cookies, and with `Content-Security-Policy: sandbox`, so that what a service sends cannot act in the name of this page. `Haus-Source` says whether the service or the gateway answered.',
  effect: 'write',
  permission: 'gateway.call',
  bodyLimitBytes: 2 * proxyBodyMaxBytes,
  body: Type.Object(
    {
      service: ServiceName,
      method: Type.Enum([...httpMethods]),
      path: Type.String({
        minLength: 1,
        maxLength: 4096,
        pattern: '^/[\\x21-\\x7e]*$',
        'x-form': 'a path that begins with a slash, with its query, in printable ASCII',
      }),
      headers: Type.Optional(
        Type.Record(
          Type.String({ pattern: '^[A-Za-z0-9-]{1,64}$' }),
          Type.String({
            maxLength: 4096,
            pattern: '^[\\t\\x20-\\x7e\\x80-\\xff]*$',
            'x-form': 'a field value in Latin-1, without control characters',
          }),
          {
            maxProperties: 64,
            additionalProperties: false,
            'x-keys': 'letters, digits and hyphens, at most 64',
          },
        ),
      ),
      body: Type.Optional(Type.String({ maxLength: proxyBodyMaxBytes })),
      bodyBase64: Type.Optional(
        Type.String({ maxLength: Math.ceil((proxyBodyMaxBytes * 4) / 3) + 4 }),
      ),
      timeoutMs: Type.Optional(
        Type.Integer({
          minimum: 1,
          maximum: 300_000,
          default: 30_000,
          description: 'For the whole of it, beside the gateway’s own limits.',
        }),
      ),
    },
    { additionalProperties: false },
  ),
  answers: {
    200: {
      description: 'The service’s answer; its status is the service’s own.',
      contentType: '*/*',
      headers: { 'Haus-Source': '`upstream` or `gateway`.' },
    },
  },
  passesThrough: true,
  errors: [
    'path_refused',
    'service_not_found',
    'service_unavailable',
    'caller_not_allowed',
    'upstream_failed',
    'upstream_timeout',
  ],
  example: {
    as: 'service',
    body: { service: 'orders', method: 'GET', path: '/orders?limit=1' },
    status: 200,
  },
})
