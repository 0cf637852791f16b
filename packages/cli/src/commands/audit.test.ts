import assert from 'node:assert/strict'
import { test } from 'node:test'
import { detailText } from './audit.ts'

test('the detail of a record shows what was given, and not what was left open', () => {
  const detail = { host: null, pathPrefix: '/shop', methods: null, stripPrefix: false, version: 0 }
  assert.equal(detailText({ detail }), 'pathPrefix=/shop stripPrefix=false version=0')
})
