/** Metrics over HTTP, for an operator or the scrape token. */
import { getMetrics } from '@haus/contract'
import type { Routes } from '../../platform/http/index.ts'
import type { Metrics, MetricsReadings } from './metrics.ts'

export function prometheusRoutes(
  routes: Routes,
  metrics: Metrics,
  readings: MetricsReadings,
): void {
  routes.implement(getMetrics, async () => ({
    status: 200,
    raw: Buffer.from(await metrics.text(readings)),
  }))
}
