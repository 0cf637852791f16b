import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { pathFault, targetFault } from './request-path.ts'

test('plain paths pass, with escapes of what RFC 3986 does not allow, in whatever letters', () => {
  for (const path of [
    '/',
    '/a',
    '/a/',
    '/a/b.c/~d',
    '/a%20b/%C3%A4',
    '/.well-known/x',
    '/...',
    "/!$&'()*+,=:@|[]",
    '/a%25',
  ]) {
    assert.equal(pathFault(path), null, path)
  }
})

test('a path that two readers could take for two is refused with the mend', () => {
  for (const path of [
    '',
    'a',
    '*',
    'http://evil.example/a',
    '//a',
    '/a//b',
    '/a/../b',
    '/a/..',
    '/./a',
    '/%2e%2E/a',
    '/.%2e/a',
    '/a%2fb',
    '/a%5Cb',
    '/a\\b',
    '/a;b',
    '/a%3Bb',
    '/a#b',
    '/a%23',
    '/a%3f',
    '/a%00',
    '/a%7f',
    '/a%0d%0a',
    '/a%',
    '/a%2',
    '/a%zz',
    '/%c3%28',
    '/%c0%af',
    '/a b',
    '/ä',
    '/a"b',
    '/a<b',
  ]) {
    assert.ok(pathFault(path), path)
  }
})

test('a query is passed on as it is, unless it could end the line or hold a fragment', () => {
  assert.equal(targetFault('/a?b=//../%zz;"', 2), null)
  assert.equal(targetFault('/a?', 2), null)
  assert.ok(targetFault('/a?b#c', 2))
  assert.ok(targetFault('/a?b c', 2))
  assert.ok(targetFault('/a?\u00e4', 2))
  assert.ok(targetFault(`/${'a'.repeat(9_000)}`, -1))
})

test('what passes is what WHATWG URL makes of it, byte for byte: nobody behind reads another path', () => {
  const piece = fc.constantFrom('/', '.', '..', 'a', '%2e', '%2F', '%41', ';', '\\', '?', '#', '%')
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const path = `/${pieces.join('')}`
      if (pathFault(path) !== null) return
      assert.equal(new URL(path, 'http://haus.localhost').pathname, path)
    }),
    { numRuns: 2_000 },
  )
})
