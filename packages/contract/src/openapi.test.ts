import { test } from 'node:test'
import assert from 'node:assert/strict'
import { catalogue } from './catalogue.ts'
import { errorKinds } from './errors.ts'
import { errorCodesOf, openApiDocument } from './openapi.ts'

const document = openApiDocument({ version: '1.2.3' })
const operations = Object.values(document.paths).flatMap((methods) => Object.values(methods))

test('every operation is there once, with effect, permission and its errors by status', () => {
  assert.deepEqual(
    operations.map((operation) => operation.operationId).toSorted(),
    catalogue.map((operation) => operation.id).toSorted(),
  )
  for (const operation of catalogue) {
    const shown = operations.find(({ operationId }) => operationId === operation.id)
    assert.equal(shown?.['x-haus-effect'], operation.effect)
    assert.equal(shown['x-haus-permission'], operation.permission)
    assert.equal(
      shown.security.length === 0 || Object.keys(shown.security[0] ?? {}).length === 0,
      operation.permission === 'public',
    )
    for (const code of errorCodesOf(operation)) {
      const answer: unknown = shown.responses[String(errorKinds[code].status)]
      assert.ok(answer, `${operation.id} ${code}`)
    }
  }
})

test('every reference arrives, and every component is used', () => {
  const text = JSON.stringify(document)
  const used = new Set(
    [...text.matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => String(name)),
  )
  assert.deepEqual([...used].toSorted(), Object.keys(document.components.schemas).toSorted())
})

test('the document is the same every time, and all JSON', () => {
  const again = openApiDocument({ version: '1.2.3' })
  assert.equal(JSON.stringify(again), JSON.stringify(document))
  assert.deepEqual(JSON.parse(JSON.stringify(document)), document)
})

test('examples show no secret but those that say that they are examples', () => {
  for (const { example } of catalogue) {
    const text = JSON.stringify(example ?? {})
    for (const [, value] of text.matchAll(
      /"(?:password|clientSecret|client_secret|access_token)":"([^"]*)"/g,
    )) {
      assert.match(value ?? '', /example/)
    }
  }
})
