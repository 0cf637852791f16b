export { createMetrics } from './metrics.ts'
export { prometheusRoutes } from './routes.ts'
