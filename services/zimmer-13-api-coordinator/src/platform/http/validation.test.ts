import { test } from 'node:test'
import assert from 'node:assert/strict'
import {
  catalogue,
  closestName,
  createCredential,
  discover,
  HausError,
  heartbeat,
  listAudit,
  registerInstance,
  reservedServiceNames,
  updateCredential,
} from '@haus/contract'
import { createCoercion, parseParameters } from './query.ts'
import { createValidation } from './validation.ts'
import type { Place } from './validation.ts'
import type { TSchema } from 'typebox'

const compile = createValidation()

function faults(schema: TSchema, value: unknown, place: Place = 'body'): Record<string, string> {
  try {
    compile(schema, place)(value)
  } catch (error) {
    assert.ok(error instanceof HausError)
    assert.equal(error.code, 'invalid_request')
    return Object.fromEntries(error.fields.map(({ field, detail }) => [field, detail]))
  }
  return {}
}

const registration = { name: 'orders', version: '1.0.0', port: 3000 }

test('every schema of the catalogue compiles in strict mode', () => {
  for (const operation of catalogue) {
    for (const schema of [operation.params, operation.query, operation.body]) {
      if (schema !== undefined) compile(schema, 'body')
    }
    for (const answer of Object.values(operation.answers)) {
      if (answer.schema !== undefined) compile(answer.schema, 'body')
    }
  }
})

test('every pattern that a caller can miss says its form in words', () => {
  const walk = (schema: unknown, where: string): void => {
    if (typeof schema !== 'object' || schema === null) return
    if ('pattern' in schema) assert.ok('x-form' in schema, `${where} has no x-form`)
    if ('patternProperties' in schema && 'additionalProperties' in schema) {
      assert.ok('x-keys' in schema, `${where} has no x-keys`)
    }
    for (const [key, value] of Object.entries(schema)) walk(value, `${where}/${key}`)
  }
  for (const { id, params, query, body } of catalogue) {
    walk({ params, query, body }, id)
  }
})

test('whether items are unique is never a question of each pair', () => {
  const walk = (schema: unknown, where: string): void => {
    if (typeof schema !== 'object' || schema === null) return
    if ('uniqueItems' in schema) {
      const items: unknown = 'items' in schema ? schema.items : undefined
      const typed = typeof items === 'object' && items !== null && 'type' in items
      assert.ok(typed && items.type === 'string', `${where} has items without a type`)
    }
    for (const [key, value] of Object.entries(schema)) walk(value, `${where}/${key}`)
  }
  for (const { id, params, query, body } of catalogue) walk({ params, query, body }, id)
})

test('a body as large as may be is judged in milliseconds, however wrong it is', () => {
  const names = Array.from({ length: 30_000 }, (_, place) => `n${place}`)
  const check = compile(registerInstance.body, 'body')
  for (const [body, count] of [
    [{ ...registration, endpoints: [{ path: '/x', methods: names }] }, 30_001],
    [{ ...registration, ...Object.fromEntries(names.map((name) => [name, 1])) }, 30_000],
  ] as const) {
    const before = process.cpuUsage()
    assert.throws(() => check(body), {
      code: 'invalid_request',
      message: new RegExp(` ${count - 1} more fields do not fit`),
    })
    const { user } = process.cpuUsage(before)
    // 11.6 s and 1 s before this was tested.
    assert.ok(user < 500_000, `took ${user} µs of processor time`)
  }
})

test('every field that does not fit is named at once, with its mend', () => {
  assert.deepEqual(
    faults(registerInstance.body, {
      name: 'Orders',
      verion: '1.0.0',
      port: 70_000,
      scheme: 'ftp',
      tags: ['a', 'a'],
      weight: '5',
      metadata: { 'no spaces': 'x' },
      endpoints: [{ path: 'orders' }],
      dependencies: ['x'.repeat(64)],
    }),
    {
      '/version': 'is required',
      '/verion': 'is not known here; did you mean `version`?',
      '/name':
        'must be lower-case letters, digits and hyphens, at most 63, with a letter or digit at both ends',
      '/port': 'must be at most 65535',
      '/scheme': 'must be one of "http", "https", "tcp"',
      '/tags': 'must not have the same item twice',
      '/weight': 'must be a whole number',
      '/metadata/no spaces':
        'is not a name that fits: it must be letters, digits, dots, underscores, slashes and hyphens, at most 63, beginning with a letter or digit',
      '/endpoints/0/path':
        'must be a path that begins with a slash, in printable ASCII without spaces',
      '/dependencies/0': 'must have at most 63 characters',
    },
  )
})

test('nothing is coerced in a body', () => {
  assert.deepEqual(faults(registerInstance.body, { ...registration, port: '3000' }), {
    '/port': 'must be a whole number',
  })
  assert.deepEqual(faults(registerInstance.body, { ...registration, port: 3000.5 }), {
    '/port': 'must be a whole number',
  })
  assert.deepEqual(faults(heartbeat.body, { incarnation: null }), {
    '/incarnation': 'must be a whole number',
  })
  assert.deepEqual(faults(registerInstance.body, 'text'), { '': 'must be an object' })
})

test('a nullable field has one fault, in words', () => {
  assert.deepEqual(faults(updateCredential.body, { description: 5 }), {
    '/description': 'must be a string or null',
  })
  assert.deepEqual(faults(updateCredential.body, { description: 'x'.repeat(1025) }), {
    '/description': 'must have at most 1024 characters',
  })
  assert.deepEqual(faults(updateCredential.body, { description: null }), {})
  assert.deepEqual(faults(updateCredential.body, {}), { '': 'must have at least 1 field' })
})

test('reserved names are refused wherever a service is named', () => {
  for (const name of reservedServiceNames) {
    assert.match(
      faults(registerInstance.body, { ...registration, name })['/name'] ?? '',
      /reserved/,
    )
    assert.match(
      faults(discover.query, { service: name }, 'query')['query.service'] ?? '',
      /reserved/,
    )
  }
  assert.deepEqual(faults(registerInstance.body, { ...registration, name: 'api-1' }), {})
})

test('a hostile body gets a bounded answer that quotes no value', () => {
  const data = Object.fromEntries(
    Array.from({ length: 60 }, (_, place) => [`key${place}`, { secret: `canary-${place}` }]),
  )
  const found = faults(createCredential.body, { name: 'canary Name', data })
  assert.equal(Object.keys(found).length, 16)
  assert.doesNotMatch(JSON.stringify(found), /canary/)
  const long = faults(registerInstance.body, { ...registration, ['x'.repeat(100_000)]: 1 })
  assert.ok(JSON.stringify(long).length < 500)
})

test('a slip of a name finds the name that was meant', () => {
  const known = ['address', 'healthEndpoint', 'credentialsNeeded', 'port']
  assert.equal(closestName('adress', known), 'address')
  assert.equal(closestName('health_endpoint', known), 'healthEndpoint')
  assert.equal(closestName('PORT', known), 'port')
  assert.equal(closestName('frobnicate', known), null)
})

test('query values are typed from their plain form only', () => {
  const coerce = createCoercion(listAudit.query)
  const read = (text: string) => coerce(parseParameters(text, 'query'))
  assert.deepEqual({ ...read('limit=5&actor=operator') }, { limit: 5, actor: 'operator' })
  for (const limit of ['1e2', '0x10', '%205', '', '+5', '5.0', 'NaN']) {
    assert.deepEqual(
      Object.keys(faults(listAudit.query, read(`limit=${limit}`), 'query')),
      ['query.limit'],
      limit,
    )
  }
})

test('a parameter that is there twice, or is no text, is refused by name', () => {
  const refuse = (text: string): HausError => {
    try {
      parseParameters(text, 'query')
    } catch (error) {
      assert.ok(error instanceof HausError)
      return error
    }
    return assert.fail(`taken: ${text}`)
  }
  assert.equal(refuse('a=1&a=1').fields[0]?.field, 'query.a')
  assert.equal(refuse('a=1&%61=1').fields[0]?.field, 'query.a')
  assert.equal(refuse('a=%00').fields[0]?.field, 'query.a')
  assert.equal(refuse('a=%ff').code, 'invalid_encoding')
  assert.equal(refuse('a=%').code, 'invalid_encoding')
  assert.equal(refuse('a=&'.repeat(40)).code, 'invalid_request')
  assert.deepEqual({ ...parseParameters('a=x+y%26&b', 'form') }, { a: 'x y&', b: '' })
  const odd = parseParameters('__proto__=1&constructor=2', 'query')
  assert.equal(Object.getPrototypeOf(odd.constructor), String.prototype)
  assert.equal(Reflect.get({}, '1'), undefined)
})
