/** The house's description of itself. */
import { defineOperation } from './operation.ts'
import { Type } from 'typebox'

export const getOpenApi = defineOperation({
  id: 'getOpenApi',
  method: 'GET',
  path: '/openapi.json',
  tag: 'System',
  summary: 'This catalogue as OpenAPI 3.1',
  effect: 'read',
  permission: 'public',
  answers: { 200: { description: 'The document.', schema: Type.Unknown() } },
  errors: [],
  example: { as: 'nobody', status: 200 },
})

export const getDocs = defineOperation({
  id: 'getDocs',
  method: 'GET',
  path: '/docs',
  tag: 'System',
  summary: 'This catalogue as a page',
  effect: 'read',
  permission: 'public',
  answers: { 200: { description: 'HTML.', contentType: 'text/html; charset=utf-8' } },
  errors: [],
  example: { as: 'nobody', status: 200 },
})

export const getMetrics = defineOperation({
  id: 'getMetrics',
  method: 'GET',
  path: '/metrics',
  tag: 'System',
  summary: 'Metrics for Prometheus',
  description:
    'Takes an operator token, or the scrape token in `<data dir>/metrics.token`, which can do nothing else.',
  effect: 'read',
  permission: 'metrics.read',
  answers: {
    200: {
      description: 'Text exposition format.',
      contentType: 'text/plain; version=0.0.4; charset=utf-8',
    },
  },
  errors: [],
  example: { status: 200 },
})
