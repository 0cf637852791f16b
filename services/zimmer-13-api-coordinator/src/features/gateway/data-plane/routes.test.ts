import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RoutedPrefix } from '../messages.ts'
import { compileRoutes } from './routes.ts'

function route(id: string, change: Partial<RoutedPrefix>): RoutedPrefix {
  return {
    id,
    host: null,
    pathPrefix: '/',
    methods: null,
    service: 'orders',
    stripPrefix: false,
    bodyMaxBytes: 1,
    retryIdempotencyKey: false,
    ...change,
  }
}

const routes = compileRoutes([
  route('all', { pathPrefix: '/shop' }),
  route('cart', { pathPrefix: '/shop/cart', methods: ['GET'] }),
  route('host', { host: 'shop.example', pathPrefix: '/' }),
  route('host-shop', { host: 'shop.example', pathPrefix: '/shop', methods: ['POST'] }),
])
const find = (host: string, path: string, method = 'GET', anyHost = true) =>
  routes.find(host, anyHost, path, method)?.id ?? null

test('the longest prefix of whole segments wins', () => {
  assert.equal(find('x', '/shop'), 'all')
  assert.equal(find('x', '/shop/cart/1'), 'cart')
  assert.equal(find('x', '/shop/cart/1', 'POST'), 'all')
  assert.equal(find('x', '/shopping'), null)
  assert.equal(find('x', '/Shop'), null)
})

test('a route for the host goes before one for all hosts', () => {
  assert.equal(find('shop.example', '/shop/cart'), 'host')
  assert.equal(find('shop.example', '/shop/cart', 'POST'), 'host-shop')
  assert.equal(find('other.example', '/'), null)
})

test('the host of a service is not taken by a route for all hosts', () => {
  assert.equal(find('orders.haus.localhost', '/shop', 'GET', false), null)
})
