/**
 * The catalogue as an OpenAPI 3.1 document. Pure: the same catalogue gives the same document, so
 * that the generated file can be compared, and nothing of a running house can get into it.
 */
import { catalogue } from './catalogue.ts'
import { errorKinds } from './errors.ts'
import type { ErrorCode } from './errors.ts'
import type { Effect, Example, Operation, Tag } from './operation.ts'
import { permissions } from './permissions.ts'
import type { Permission } from './permissions.ts'
import { CloudEvent } from './events.ts'

/** JSON Schema 2020-12, as far as the contract uses it. */
export interface JsonSchema {
  readonly $ref?: string
  readonly type?: string
  readonly title?: string
  readonly description?: string
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: boolean | JsonSchema
  readonly patternProperties?: Readonly<Record<string, JsonSchema>>
  readonly items?: JsonSchema
  readonly anyOf?: readonly JsonSchema[]
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly default?: unknown
  readonly pattern?: string
  readonly minLength?: number
  readonly maxLength?: number
  readonly minimum?: number
  readonly maximum?: number
  readonly minItems?: number
  readonly maxItems?: number
  readonly uniqueItems?: boolean
  readonly minProperties?: number
  readonly maxProperties?: number
  readonly contentMediaType?: string
  readonly contentSchema?: JsonSchema
  readonly 'x-form'?: string
  readonly 'x-keys'?: string
}

export interface OpenApiParameter {
  readonly name: string
  readonly in: 'path' | 'query' | 'header'
  readonly required: boolean
  readonly description?: string
  readonly schema: JsonSchema
  readonly example?: string
}

export interface OpenApiMedia {
  readonly schema: JsonSchema
  readonly example?: unknown
}

export interface OpenApiResponse {
  readonly description: string
  readonly headers?: Readonly<Record<string, { description: string; schema: JsonSchema }>>
  readonly content?: Readonly<Record<string, OpenApiMedia>>
  /** The codes that an answer with this status can carry. */
  readonly 'x-haus-codes'?: readonly ErrorCode[]
}

export interface OpenApiOperation {
  readonly operationId: string
  readonly tags: readonly Tag[]
  readonly summary: string
  readonly description?: string
  readonly 'x-haus-effect': Effect
  readonly 'x-haus-permission': Permission
  readonly security: readonly Readonly<Record<string, readonly string[]>>[]
  readonly parameters?: readonly OpenApiParameter[]
  readonly requestBody?: {
    readonly required: true
    readonly content: Readonly<Record<string, OpenApiMedia>>
  }
  readonly responses: Readonly<Record<string, OpenApiResponse>>
}

export interface OpenApiDocument {
  readonly openapi: '3.1.0'
  readonly info: {
    readonly title: string
    readonly version: string
    readonly summary: string
    readonly description: string
    readonly license: { readonly name: string; readonly identifier: string }
  }
  readonly servers: readonly { readonly url: string; readonly description: string }[]
  readonly tags: readonly { readonly name: Tag; readonly description: string }[]
  readonly paths: Readonly<Record<string, Readonly<Record<string, OpenApiOperation>>>>
  readonly components: {
    readonly securitySchemes: Readonly<Record<string, Readonly<Record<string, string>>>>
    readonly schemas: Readonly<Record<string, JsonSchema>>
  }
}

export interface OpenApiOptions {
  readonly version: string
  /** Default: the address that the document was read from. */
  readonly serverUrl?: string
}

const tagDescriptions: Readonly<Record<Tag, string>> = {
  Identity: 'Keys of services, and the tokens they are traded for.',
  Credentials: 'Named sets of secret values, versioned, granted to services.',
  Gateway: 'Calls from service to service, and what is published to everybody.',
  Services: 'Registration, leases, aliases and configuration of services and their instances.',
  Discovery: 'Where a service is now.',
  Health: 'Probes for machines, reports for people.',
  'Events and audit': 'What happens, as it happens; and who did it.',
  System: 'The house about itself.',
}

const description = [
  'One process holds the keys (credentials), keeps the address book (registry and discovery), makes the rounds (health) and opens the door (gateway, on an address of its own).',
  'Send `Authorization: Bearer <token>`: the operator token of the house, or a token that a service got for its key from `issueToken`. Tokens never travel in URLs.',
  'Bodies are JSON in UTF-8; unknown fields, repeated keys and repeated parameters are refused. Times are RFC 3339 in UTC, durations carry their unit in the name. Lists are paged with `limit` and `cursor`.',
  'A refusal is a problem document (RFC 9457) whose `code` never changes its meaning; `errors` names every field that does not fit. Every answer carries `X-Request-Id`.',
].join('\n\n')

export function openApiDocument({ version, serverUrl = '/' }: OpenApiOptions): OpenApiDocument {
  const schemas = new Map<string, JsonSchema>([
    ['Problem', problemSchema],
    ['TokenError', tokenErrorSchema],
  ])
  const schemaOf = createSchemaReader(schemas)
  const paths: Record<string, Record<string, OpenApiOperation>> = {}
  for (const operation of catalogue) {
    const path = (paths[operation.path] ??= {})
    path[operation.method.toLowerCase()] = operationOf(operation, schemaOf)
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Haus',
      version,
      summary: 'Credentials, service registry, health and gateway in one small process',
      description,
      license: { name: 'Apache License 2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: serverUrl, description: 'This house' }],
    tags: tagOrder().map((name) => ({ name, description: tagDescriptions[name] })),
    paths,
    components: {
      securitySchemes: {
        token: {
          type: 'http',
          scheme: 'bearer',
          description: 'The operator token, a service token, or for metrics the scrape token.',
        },
        client: {
          type: 'http',
          scheme: 'basic',
          description: 'Client id and secret of a service key, at the token endpoint.',
        },
      },
      schemas: Object.fromEntries([...schemas].toSorted(([a], [b]) => (a < b ? -1 : 1))),
    },
  }
}

/** In the order in which the catalogue first uses them. */
function tagOrder(): Tag[] {
  return [...new Set(catalogue.map((operation) => operation.tag))]
}

function operationOf(
  operation: Operation,
  schemaOf: (schema: unknown) => JsonSchema,
): OpenApiOperation {
  const { example } = operation
  const parameters = [
    ...parametersOf(schemaOf(operation.params ?? {}), 'path', example?.params),
    ...parametersOf(schemaOf(operation.query ?? {}), 'query', example?.query),
    ...headersOf(operation),
  ]
  return {
    operationId: operation.id,
    tags: [operation.tag],
    summary: operation.summary,
    ...(operation.description !== undefined && { description: operation.description }),
    'x-haus-effect': operation.effect,
    'x-haus-permission': operation.permission,
    security: securityOf(operation),
    ...(parameters.length > 0 && { parameters }),
    ...(operation.body !== undefined && {
      requestBody: { required: true, content: bodyOf(operation, schemaOf(operation.body)) },
    }),
    responses: { ...answersOf(operation, schemaOf), ...refusalsOf(operation) },
  }
}

function securityOf(operation: Operation): OpenApiOperation['security'] {
  if (operation.permission !== 'public') return [{ token: [] }]
  return operation.form === true ? [{}, { client: [] }] : []
}

function parametersOf(
  schema: JsonSchema,
  place: 'path' | 'query',
  example: Example['params'],
): OpenApiParameter[] {
  return Object.entries(schema.properties ?? {}).map(([name, property]) => {
    const { description: text, ...rest } = property
    const shown = example?.[name]
    return {
      name,
      in: place,
      required: schema.required?.includes(name) ?? false,
      ...(text !== undefined && { description: text }),
      schema: rest,
      ...(shown !== undefined && typeof property.type === 'string' && property.type === 'string'
        ? { example: shown }
        : {}),
    }
  })
}

/** Request headers that change an answer follow from the answers that are declared. */
function headersOf(operation: Operation): OpenApiParameter[] {
  const headers: OpenApiParameter[] = []
  if (304 in operation.answers) {
    headers.push({
      name: 'If-None-Match',
      in: 'header',
      required: false,
      description: 'The last `ETag`; the answer is 304 while it still holds.',
      schema: { type: 'string' },
    })
  }
  if (Object.values(operation.answers).some((answer) => answer.contentType === eventStream)) {
    headers.push({
      name: 'Last-Event-ID',
      in: 'header',
      required: false,
      description: 'Go on after this event.',
      schema: { type: 'string' },
    })
  }
  return headers
}

const eventStream = 'text/event-stream'

function bodyOf(operation: Operation, schema: JsonSchema): Record<string, OpenApiMedia> {
  const example = operation.example?.body
  const media: OpenApiMedia = { schema, ...(example !== undefined && { example }) }
  return {
    'application/json': media,
    ...(operation.form === true && { 'application/x-www-form-urlencoded': media }),
  }
}

function answersOf(
  operation: Operation,
  schemaOf: (schema: unknown) => JsonSchema,
): Record<string, OpenApiResponse> {
  const responses: Record<string, OpenApiResponse> = {}
  for (const [status, answer] of Object.entries(operation.answers)) {
    const { example } = operation
    const shown = example?.status === Number(status) ? example.answer : undefined
    const contentType = answer.contentType ?? 'application/json'
    const schema =
      answer.schema === undefined
        ? textSchema(answer.contentType, schemaOf)
        : schemaOf(answer.schema)
    responses[status] = {
      description: answer.description,
      ...(answer.headers !== undefined && {
        headers: Object.fromEntries(
          Object.entries(answer.headers).map(([name, text]) => [
            name,
            { description: text, schema: { type: 'string' } },
          ]),
        ),
      }),
      ...(schema !== null && {
        content: { [contentType]: { schema, ...(shown !== undefined && { example: shown }) } },
      }),
    }
  }
  return responses
}

function textSchema(
  contentType: string | undefined,
  schemaOf: (schema: unknown) => JsonSchema,
): JsonSchema | null {
  if (contentType === undefined) return null
  if (contentType !== eventStream) return { type: 'string' }
  return {
    type: 'string',
    description: 'Each `data` is a CloudEvent in JSON.',
    contentMediaType: 'application/json',
    contentSchema: schemaOf(CloudEvent),
  }
}

/** Every code that an operation can answer with: its own, and those that come with what it is. */
export function errorCodesOf(operation: Operation): ErrorCode[] {
  const codes = new Set<ErrorCode>(['invalid_path', 'invalid_request', 'invalid_encoding'])
  if (operation.body !== undefined) {
    codes.add('invalid_json').add('duplicate_key')
    codes.add('request_timeout').add('body_too_large').add('unsupported_media_type')
  }
  if (operation.permission !== 'public') {
    codes.add('unauthenticated').add('token_invalid').add('token_expired')
    codes.add('token_revoked').add('token_wrong_audience').add('rate_limited')
    codes.add('forbidden')
  }
  // A write must be recorded, and so must the refusal of a caller who may not.
  if (operation.effect !== 'read' || permissions[operation.permission].service !== 'any') {
    codes.add('writes_unavailable').add('write_outcome_unknown')
  }
  for (const code of operation.errors) codes.add(code)
  codes.add('foreign_host').add('internal_error')
  return [...codes]
}

function refusalsOf(operation: Operation): Record<string, OpenApiResponse> {
  const byStatus = new Map<number, ErrorCode[]>()
  for (const code of errorCodesOf(operation)) {
    const { status } = errorKinds[code]
    if (status !== null) byStatus.set(status, [...(byStatus.get(status) ?? []), code])
  }
  const token = operation.errorShape === 'rfc6749'
  const contentType = token ? 'application/json' : 'application/problem+json'
  const schema = { $ref: `#/components/schemas/${token ? 'TokenError' : 'Problem'}` }
  return Object.fromEntries(
    [...byStatus]
      // A status that is an answer too (503 of the readiness probe) keeps the answer's schema.
      .filter(([status]) => !(status in operation.answers))
      .toSorted(([a], [b]) => a - b)
      .map(([status, codes]) => [
        String(status),
        {
          description: codes.map((code) => `\`${code}\`: ${errorKinds[code].title}.`).join(' '),
          'x-haus-codes': codes,
          content: { [contentType]: { schema } },
        },
      ]),
  )
}

/** Copies a schema as plain JSON; what has a title becomes a component, once. */
function createSchemaReader(components: Map<string, JsonSchema>): (schema: unknown) => JsonSchema {
  const read = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(read)
    if (typeof value !== 'object' || value === null) return value
    const copy = Object.fromEntries(Object.entries(value).map(([key, item]) => [key, read(item)]))
    const title: unknown = copy['title']
    // A property can be called `title`; a schema's title is a text.
    if (typeof title !== 'string') return copy
    const { title: name, ...schema } = copy
    const known = components.get(title)
    if (known !== undefined && JSON.stringify(known) !== JSON.stringify(schema)) {
      throw new Error(`two different schemas have the title ${String(name)}`)
    }
    components.set(title, schema)
    return { $ref: `#/components/schemas/${title}` }
  }
  return (schema) => {
    const copy = read(schema)
    return typeof copy === 'object' && copy !== null ? copy : {}
  }
}

const problemSchema: JsonSchema = {
  type: 'object',
  description:
    'RFC 9457. `detail` says what to mend, `errors` names every field that does not fit.',
  required: ['type', 'title', 'status', 'detail', 'code', 'requestId'],
  properties: {
    type: { type: 'string', description: '`urn:haus:error:<code>`' },
    title: { type: 'string', description: 'The same for every problem with this code.' },
    status: { type: 'integer' },
    detail: { type: 'string', description: 'What is wrong here, and the mend.' },
    instance: { type: 'string', description: 'The path of the request.' },
    code: { type: 'string', enum: Object.keys(errorKinds).filter(isAnswerable) },
    requestId: { type: 'string', description: 'The log has the request under it.' },
    errors: {
      type: 'array',
      maxItems: 16,
      items: {
        type: 'object',
        required: ['field', 'detail'],
        properties: {
          field: {
            type: 'string',
            description:
              'A JSON pointer into the body, or `query.<name>`, `path.<name>`, `header.<name>`.',
          },
          detail: { type: 'string' },
        },
      },
    },
  },
}

const tokenErrorSchema: JsonSchema = {
  type: 'object',
  description: 'RFC 6749 section 5.2.',
  required: ['error', 'error_description'],
  properties: {
    error: {
      type: 'string',
      enum: [
        'invalid_request',
        'invalid_client',
        'unsupported_grant_type',
        'temporarily_unavailable',
        'server_error',
      ],
    },
    error_description: { type: 'string' },
  },
}

function isAnswerable(code: string): boolean {
  return Object.entries(errorKinds).some(([name, kind]) => name === code && kind.status !== null)
}
