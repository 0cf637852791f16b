/**
 * Values against the schemas of the contract, and what is wrong with them in words.
 *
 * Strict: nothing is coerced, unknown fields are refused. Every field that does not fit is named
 * at once, so that a caller mends a request in one go. Values are never quoted: they may be secrets.
 */
import { Ajv } from 'ajv'
import type { ErrorObject } from 'ajv'
import { closestName, HausError } from '@haus/contract'
import type { FieldError } from '@haus/contract'
import type { TSchema } from 'typebox'
import { missingDetail } from './problem.ts'
import { pointerStep } from './strict-json.ts'

/** Enough to mend any honest request at once; a hostile one does not get a megabyte of answer. */
const fieldErrorsMax = 16

export type Place = 'body' | 'query' | 'path'

/** @throws HausError invalid_request */
export type Check = (value: unknown) => void

export function createValidation(): (schema: TSchema, place: Place) => Check {
  const ajv = new Ajv({
    strict: true,
    // `Type.Enum` and `Type.Unknown` carry no `type`; the schemas are tested as a whole instead.
    strictTypes: false,
    strictRequired: false,
    allErrors: true,
    useDefaults: true,
    // Gives the schema that failed, for its wording; the value that comes along is not used.
    verbose: true,
    validateFormats: false,
    keywords: ['x-form', 'x-keys'],
  })

  return (schema, place) => {
    const validate = ajv.compile(schema)
    return (value) => {
      if (validate(value)) return
      const { fields, count } = fieldErrors(validate.errors ?? [], place)
      // Ajv keeps the last errors, and with them the value, until the next call.
      validate.errors = null
      throw invalidRequest(fields, count, place)
    }
  }
}

function invalidRequest(fields: readonly FieldError[], count: number, place: Place): HausError {
  const [first] = fields
  if (first === undefined) {
    return new HausError('invalid_request', `The ${place} does not fit the contract.`)
  }
  const subject = first.field === '' ? 'The body' : first.field
  const others = count - 1
  const more =
    others === 0 ? '' : ` ${others} more ${others === 1 ? 'field does' : 'fields do'} not fit.`
  return new HausError(
    'invalid_request',
    `${subject} ${first.detail}${first.detail.endsWith('?') ? '' : '.'}${more}`,
    { fields },
  )
}

/**
 * `count`: of all that do not fit. Only those that are told of get words: the words for one may take
 * a comparison with every name that is known, and a body of 256 KiB holds 26,000 that are not.
 */
function fieldErrors(
  errors: readonly ErrorObject[],
  place: Place,
): { readonly fields: FieldError[]; readonly count: number } {
  const fields: FieldError[] = []
  const seen = new Set<string>()
  for (const error of errors) {
    // `anyOf` and the `null` branch of a nullable field only repeat what the other branch said.
    if (error.keyword === 'anyOf' || isNullBranch(error)) continue
    const field = fieldOf(error, place)
    // One mend for each field: the first thing that is wrong with it.
    if (seen.has(field)) continue
    seen.add(field)
    if (fields.length < fieldErrorsMax) fields.push({ field, detail: detailOf(error) })
  }
  return { fields, count: seen.size }
}

function isNullBranch(error: ErrorObject): boolean {
  return error.keyword === 'type' && error.schema === 'null' && error.schemaPath.includes('/anyOf/')
}

function fieldOf(error: ErrorObject, place: Place): string {
  const params: Readonly<Record<string, unknown>> = error.params
  const last = params['additionalProperty'] ?? params['missingProperty']
  if (place === 'body') {
    // Ajv escapes the steps of the path itself; they are cut to a readable length all the same.
    const path = error.instancePath
      .split('/')
      .map((step) => (step.length > 64 ? `${step.slice(0, 64)}…` : step))
      .join('/')
    return typeof last === 'string' ? `${path}/${pointerStep(last)}` : path
  }
  const name = typeof last === 'string' ? last : error.instancePath.slice(1)
  return name === '' ? place : `${place}.${name.slice(0, 64)}`
}

function detailOf(error: ErrorObject): string {
  const params: Readonly<Record<string, unknown>> = error.params
  const limit = Number(params['limit'])
  switch (error.keyword) {
    case 'required':
      return missingDetail
    case 'type':
      return `must be ${typeWords(error)}`
    case 'additionalProperties':
      return unknownFieldWords(error)
    case 'maxLength':
      return `must have at most ${limit} characters`
    case 'minLength':
      return limit === 1 ? 'must not be empty' : `must have at least ${limit} characters`
    case 'pattern':
      return `must be ${annotation(error, 'x-form') ?? 'in the form that the API page shows'}`
    case 'enum':
      return `must be one of ${list(params['allowedValues'])}`
    case 'const':
      return `must be ${JSON.stringify(params['allowedValue'])}`
    case 'not':
      return 'is a reserved name; choose another'
    case 'minimum':
      return `must be at least ${limit}`
    case 'maximum':
      return `must be at most ${limit}`
    case 'maxItems':
      return `must have at most ${limit} items`
    case 'minItems':
      return `must have at least ${limit} ${limit === 1 ? 'item' : 'items'}`
    case 'uniqueItems':
      return 'must not have the same item twice'
    case 'maxProperties':
      return `must have at most ${limit} fields`
    case 'minProperties':
      return `must have at least ${limit} ${limit === 1 ? 'field' : 'fields'}`
    default:
      return 'does not fit the contract'
  }
}

function typeWords(error: ErrorObject): string {
  const words: Readonly<Record<string, string>> = {
    string: 'a string',
    integer: 'a whole number',
    number: 'a number',
    boolean: 'true or false',
    object: 'an object',
    array: 'a list',
    null: 'null',
  }
  const type = typeof error.schema === 'string' ? error.schema : ''
  const nullable = error.schemaPath.includes('/anyOf/') ? ' or null' : ''
  return `${words[type] ?? 'of another type'}${nullable}`
}

function unknownFieldWords(error: ErrorObject): string {
  const keys = annotation(error, 'x-keys')
  if (keys !== null) return `is not a name that fits: it must be ${keys}`
  const params: Readonly<Record<string, unknown>> = error.params
  const given = String(params['additionalProperty'])
  const properties: unknown = error.parentSchema?.['properties']
  const known = typeof properties === 'object' && properties !== null ? Object.keys(properties) : []
  if (known.length === 0) return 'is not known here; leave it out'
  const closest = closestName(given, known)
  return closest === null
    ? `is not known here; these are: ${known.join(', ')}`
    : `is not known here; did you mean \`${closest}\`?`
}

function annotation(error: ErrorObject, name: string): string | null {
  const words: unknown = error.parentSchema?.[name]
  return typeof words === 'string' ? words : null
}

function list(values: unknown): string {
  return Array.isArray(values) ? values.map((value) => JSON.stringify(value)).join(', ') : ''
}
