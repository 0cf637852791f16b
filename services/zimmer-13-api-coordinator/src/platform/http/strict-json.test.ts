import { test } from 'node:test'
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { HausError } from '@haus/contract'
import { jsonDepthMax, parseJson } from './strict-json.ts'

function refusal(bytes: string | Buffer): {
  code: string
  field: string | undefined
  text: string
} {
  try {
    parseJson(Buffer.from(bytes))
  } catch (error) {
    assert.ok(error instanceof HausError)
    return {
      code: error.code,
      field: error.fields[0]?.field,
      text: JSON.stringify(error.fields) + error.message,
    }
  }
  return assert.fail(`taken: ${String(bytes).slice(0, 80)}`)
}

test('any JSON document comes out as it went in', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6, stringUnit: 'grapheme' }), (value) => {
      const text = JSON.stringify(value)
      if (text.includes('"__proto__"') || text.includes('\\u0000')) return
      assert.deepEqual(parseJson(Buffer.from(text)), JSON.parse(text))
    }),
  )
})

test('a key that is there twice is refused wherever it is, and named', () => {
  assert.deepEqual(refusal('{"a":1,"b":2,"a":1}').field, '/a')
  assert.deepEqual(refusal('{"a":{"b":[0,{"c":1,"d":2,"c":3}]}}').field, '/a/b/1/c')
  assert.deepEqual(refusal('{"a":1,"\\u0061":2}').field, '/a')
  assert.deepEqual(refusal('{"x/y":{"k":1,"k":1}}').field, '/x~1y/k')
  assert.equal(refusal('{"a":1,"a":1}').code, 'duplicate_key')
  assert.deepEqual(parseJson(Buffer.from('{"a":{"a":"a"},"b":["a","a",{"a":1}]}')), {
    a: { a: 'a' },
    b: ['a', 'a', { a: 1 }],
  })
})

test('`__proto__` is refused, escaped or not, and nothing is polluted', () => {
  assert.equal(refusal('{"__proto__":{"admin":true}}').field, '/__proto__')
  assert.equal(refusal('{"a":{"\\u005f_proto__":{"admin":true}}}').field, '/a/__proto__')
  assert.equal(Reflect.get({}, 'admin'), undefined)
})

test('a number that would come out as another one is refused where it stands', () => {
  for (const number of ['1e400', '-1e400', '9007199254740993', '12345678901234567890']) {
    const { code, field, text } = refusal(`{"a":[0,{"b":${number}}]}`)
    assert.deepEqual([code, field], ['invalid_request', '/a/1/b'], number)
    assert.ok(!text.includes(number))
  }
  const kept = '{"a":[0,-1,1.5e3,-0.1,9007199254740991,1e21,123456789012345680000],"b":"1e400"}'
  assert.deepEqual(parseJson(Buffer.from(kept)), JSON.parse(kept))
})

test('nesting has a limit', () => {
  const nested = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`
  parseJson(Buffer.from(nested(jsonDepthMax)))
  assert.equal(refusal(nested(jsonDepthMax + 1)).code, 'invalid_request')
  assert.equal(refusal(`{"a":${nested(100_000)}}`).code, 'invalid_request')
})

test('text that no database and no other reader would take is refused by name', () => {
  assert.equal(refusal('{"a":"x\\u0000"}').field, '/a')
  assert.equal(refusal('{"a":["ok","\\ud800"]}').field, '/a/1')
  assert.equal(refusal('{"a\\u0000":1}').field, '')
  assert.equal(refusal(Buffer.from([0x22, 0xff, 0x22])).code, 'invalid_encoding')
  assert.equal(refusal(Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22])).code, 'invalid_encoding')
  assert.equal(refusal(Buffer.from('\ufeff{}')).code, 'invalid_json')
  assert.equal(parseJson(Buffer.from('"\\ud83c\\udfe0"')), '🏠')
})

test('a syntax error names line and column and quotes nothing', () => {
  const { code, text } = refusal('{\n  "password": "canary-4711" oops\n}')
  assert.equal(code, 'invalid_json')
  assert.match(text, /line 2, column 29/)
  assert.doesNotMatch(text, /canary|oops/)
  assert.match(refusal('').text, /empty/)
  assert.match(refusal('{"password":"canary-4711').text, /line 1/)
})
