/**
 * An operation is the unit of the catalogue: what a client can ask for, apart from how it is
 * answered. OpenAPI, the API page, the server's routes and permissions, and later the CLI, the
 * MCP tools and the dashboard are projections of the same value.
 */
import type { Static, TSchema } from 'typebox'
import { Type } from 'typebox'
import type { ErrorCode } from './errors.ts'
import type { Permission } from './permissions.ts'

export type Effect = 'read' | 'write' | 'destructive'
export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
export type Tag =
  | 'Credentials'
  | 'Services'
  | 'Discovery'
  | 'Identity'
  | 'Health'
  | 'Gateway'
  | 'Events and audit'
  | 'System'

/** What one successful answer looks like. No `schema`: no body (204, 304) or not JSON (`contentType`). */
export interface Answer {
  readonly description: string
  readonly schema?: TSchema
  readonly contentType?: string
  readonly headers?: Readonly<Record<string, string>>
}

/**
 * A worked example, executed by a test in the order of the catalogue against a fresh house.
 * Values that the house makes (ids, times, secrets) are learned from the answers: where an
 * earlier example showed one, the real one stands in for it from then on.
 */
export interface Example {
  /** Whose token is sent. Default: the operator's. */
  readonly as?: 'operator' | 'service' | 'nobody'
  readonly params?: Readonly<Record<string, string>>
  readonly query?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
  readonly status: number
  readonly answer?: unknown
}

export interface Operation {
  readonly id: string
  readonly method: Method
  /** With `{name}` placeholders, as in OpenAPI. */
  readonly path: string
  readonly tag: Tag
  readonly summary: string
  readonly description?: string
  readonly effect: Effect
  readonly permission: Permission
  readonly params?: TSchema
  readonly query?: TSchema
  readonly body?: TSchema
  /** Accepts `application/x-www-form-urlencoded` too (RFC 6749 asks for it). */
  readonly form?: boolean
  /** Refusals have the shape of RFC 6749 section 5.2 instead of a problem document. */
  readonly errorShape?: 'rfc6749'
  readonly bodyLimitBytes?: number
  readonly answers: Readonly<Record<number, Answer>>
  /** The answer is another program's: its status and content type are not declared here. */
  readonly passesThrough?: true
  /** The codes it may refuse with, beside those that every operation shares. */
  readonly errors: readonly ErrorCode[]
  readonly example?: Example
}

/** Keeps the literal types, so that handlers and clients are typed by the operation. */
export function defineOperation<const O extends Operation>(operation: O): O {
  return operation
}

/** The type that a schema stands for. */
export type StaticOf<S> = S extends TSchema ? Static<S> : undefined
export type ParamsOf<O extends Operation> = StaticOf<O['params']>
export type QueryOf<O extends Operation> = StaticOf<O['query']>
export type BodyOf<O extends Operation> = StaticOf<O['body']>

/** On every answer that is made from memory; the server adds them where an answer declares them. */
export const viewHeaders = {
  'Haus-Index': 'The index of the house that the answer was made at.',
  'Haus-Age-Ms':
    'Milliseconds since this process last knew that it was up to date; 0 in normal work.',
}

export const pageLimitMax = 1000

/** Lists are keyset-paged: `cursor` is opaque and versioned, an offset would skip rows under writes. */
export const Page = {
  limit: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: pageLimitMax,
      default: 100,
      description: 'Rows per page.',
    }),
  ),
  cursor: Type.Optional(
    Type.String({ maxLength: 512, description: '`nextCursor` of the page before.' }),
  ),
}

export function pageOf<S extends TSchema>(item: S) {
  return Type.Object({
    items: Type.Array(item),
    nextCursor: Type.Union([Type.String(), Type.Null()], { description: 'Null on the last page.' }),
  })
}
