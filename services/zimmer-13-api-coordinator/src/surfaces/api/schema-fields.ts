/** A JSON schema as rows of a table: one for each field, nested ones by their path. */
import type { JsonSchema, OpenApiDocument } from '@haus/contract'

export interface FieldRow {
  /** Such as `endpoints[].path`. */
  readonly name: string
  readonly required: boolean
  readonly type: string
  readonly limits: string
  readonly description: string
}

/** The deepest answer of the contract has 3 levels; a row is not readable beyond 4. */
const depthMax = 4

export function fieldRows(schema: JsonSchema, document: OpenApiDocument): FieldRow[] {
  const rows: FieldRow[] = []
  addFields(schema, '', 0)
  return rows

  function addFields(given: JsonSchema, path: string, depth: number): void {
    const { schema: plain } = unwrap(given)
    if (depth === depthMax) return
    if (plain.items !== undefined) addFields(plain.items, `${path}[]`, depth)
    const values = recordValues(plain)
    if (values !== null) addFields(values, path === '' ? '{name}' : `${path}.{name}`, depth + 1)
    for (const [name, property] of Object.entries(plain.properties ?? {})) {
      const place = path === '' ? name : `${path}.${name}`
      const { schema: inner, nullable } = unwrap(property)
      rows.push({
        name: place,
        required: plain.required?.includes(name) ?? false,
        type: typeOf(inner) + (nullable ? ' or null' : ''),
        limits: limitsOf(inner),
        description: property.description ?? inner.description ?? '',
      })
      addFields(inner, place, depth + 1)
    }
  }

  /** Behind a reference, and without the `null` that a nullable field carries. */
  function unwrap(given: JsonSchema): { schema: JsonSchema; nullable: boolean } {
    const target = given.$ref?.split('/').at(-1)
    const plain = target === undefined ? given : (document.components.schemas[target] ?? {})
    const branches = plain.anyOf?.filter((branch) => branch.type !== 'null') ?? []
    const [branch] = branches
    if (branch === undefined || branches.length !== 1) return { schema: plain, nullable: false }
    return { schema: unwrap(branch).schema, nullable: true }
  }

  function typeOf(given: JsonSchema): string {
    const { schema: plain } = unwrap(given)
    if (plain.const !== undefined) return JSON.stringify(plain.const)
    if (plain.items !== undefined) return `list of ${typeOf(plain.items)}`
    const values = recordValues(plain)
    if (values !== null) return `map to ${typeOf(values)}`
    if (plain.enum !== undefined) return 'text'
    switch (plain.type) {
      case 'string':
        return 'text'
      case 'integer':
        return 'whole number'
      case undefined:
        return 'any value'
      default:
        return plain.type
    }
  }
}

/** The schema of the values of a map; null when the schema is not one. */
function recordValues(schema: JsonSchema): JsonSchema | null {
  return Object.values(schema.patternProperties ?? {})[0] ?? null
}

export function limitsOf(schema: JsonSchema): string {
  const limits: string[] = []
  if (schema.enum !== undefined)
    limits.push(schema.enum.map((value) => `\`${String(value)}\``).join(' · '))
  if (schema['x-form'] !== undefined) limits.push(schema['x-form'])
  else if (schema.maxLength !== undefined) limits.push(`at most ${schema.maxLength} characters`)
  const { minimum, maximum } = schema
  if (minimum !== undefined && maximum !== undefined) limits.push(`${minimum} to ${maximum}`)
  else if (minimum !== undefined) limits.push(`${minimum} or more`)
  else if (maximum !== undefined) limits.push(`${maximum} at most`)
  if (schema.maxItems !== undefined) limits.push(`at most ${schema.maxItems} items`)
  if (schema.uniqueItems === true) limits.push('no item twice')
  if (schema.maxProperties !== undefined) limits.push(`at most ${schema.maxProperties} keys`)
  if (schema['x-keys'] !== undefined) limits.push(`keys: ${schema['x-keys']}`)
  if (schema.default !== undefined) limits.push(`default ${JSON.stringify(schema.default)}`)
  return limits.join('; ')
}
