import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createHostReader } from './request-host.ts'

const read = createHostReader('haus.localhost', ['coordinator'])

test('the house answers to its domain, to addresses, localhost and the names it was given', () => {
  for (const host of [
    'haus.localhost',
    'HAUS.localhost:8088',
    'haus.localhost.',
    '127.0.0.1:8088',
    '[::1]:8088',
    'localhost',
    'coordinator:8088',
  ]) {
    assert.equal(read(host)?.own, true, host)
    assert.equal(read(host)?.label, null, host)
  }
})

test('a label below the domain is a service, and a foreign name is neither', () => {
  assert.equal(read('Orders.haus.localhost:1')?.label, 'orders')
  assert.equal(read('a.b.haus.localhost')?.label, 'a.b')
  for (const host of ['evil.example', 'haus.localhost.evil.example', 'xhaus.localhost']) {
    const known = read(host)
    assert.ok(known && !known.own && known.label === null, host)
  }
})

test('what is no host name is none', () => {
  for (const host of ['', 'a b', '@c', 'a/b', 'a..b', '[::1', 'a:99999', 'a:b', '[zz]']) {
    assert.equal(read(host), null, host)
  }
})
