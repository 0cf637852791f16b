/**
 * Query strings and forms. A parameter that is there twice is refused: which one wins differs
 * between readers. Numbers and booleans are taken only in their plain form, so that `1e3`, `0x10`
 * or ` 5` do not mean something by accident.
 */
import { HausError } from '@haus/contract'
import type { FieldError } from '@haus/contract'
import type { TSchema } from 'typebox'
import { pointerStep, textFault } from './strict-json.ts'

/** More than any operation takes, and few enough that the check for repeats stays cheap. */
const parametersMax = 32

export type Fields = Record<string, string>

/**
 * An object without a prototype, so that no parameter meets `constructor` or `__proto__`. Made by
 * `new`, it keeps fast properties; one from `Object.create(null)` costs 2 µs more to fill and read.
 */
const Bare = function () {} as unknown as new () => Record<string, never>
Object.defineProperty(Bare, 'prototype', { value: Object.freeze(Object.create(null)) })

/** @throws HausError invalid_request, invalid_encoding */
export function parseParameters(text: string, place: 'query' | 'form'): Fields {
  const fields: Fields = new Bare()
  if (text === '') return fields
  const name = (key: string): string =>
    place === 'query' ? `query.${key.slice(0, 64)}` : `/${pointerStep(key)}`
  const pairs = text.split('&')
  if (pairs.length > parametersMax) {
    throw new HausError(
      'invalid_request',
      `The ${place} has more than ${parametersMax} parameters; send fewer.`,
    )
  }
  for (const pair of pairs) {
    if (pair === '') continue
    const equals = pair.indexOf('=')
    const key = decode(equals === -1 ? pair : pair.slice(0, equals), place)
    const value = equals === -1 ? '' : decode(pair.slice(equals + 1), place)
    if (key in fields) throw refused({ field: name(key), detail: 'is there twice; keep one' })
    const fault = textFault(value)
    if (fault !== null) throw refused({ field: name(key), detail: fault })
    fields[key] = value
  }
  return fields
}

function decode(text: string, place: 'query' | 'form'): string {
  if (!text.includes('%') && !text.includes('+')) return text
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch (cause) {
    throw new HausError(
      'invalid_encoding',
      `Percent-encode the ${place} from UTF-8, and write \`%\` as \`%25\`.`,
      {
        cause,
        fields: [{ field: place === 'form' ? '' : place, detail: 'must be percent-encoded UTF-8' }],
      },
    )
  }
}

function refused(field: FieldError): HausError {
  return new HausError('invalid_request', `${field.field} ${field.detail}.`, { fields: [field] })
}

/** Query and path parameters arrive as text: those that the schema has as numbers or booleans become such. */
export function createCoercion(schema: TSchema): (fields: Fields) => Record<string, unknown> {
  const types = new Map<string, string>()
  if ('properties' in schema && typeof schema.properties === 'object') {
    for (const [name, property] of Object.entries(schema.properties ?? {})) {
      const type: unknown = property !== null && 'type' in property ? property.type : undefined
      if (type === 'integer' || type === 'number' || type === 'boolean') types.set(name, type)
    }
  }
  if (types.size === 0) return (fields) => fields
  return (fields) => {
    const typed: Record<string, unknown> = Object.assign(new Bare(), fields)
    for (const [name, type] of types) {
      const text = fields[name]
      if (text === undefined) continue
      // What is not in its plain form stays text and fails the schema, which names the field.
      if (type === 'boolean') {
        if (text === 'true' || text === 'false') typed[name] = text === 'true'
      } else if (
        /^-?\d{1,15}$/.test(text) ||
        (type === 'number' && /^-?\d{1,15}\.\d{1,9}$/.test(text))
      ) {
        typed[name] = Number(text)
      }
    }
    return typed
  }
}
