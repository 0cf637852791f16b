/** The public face of health: probes, the state machine, the monitor, the health routes. */
export { createCheckHistory, type CheckHistory } from './check-history.ts'
export { createMonitor, type Belief, type Monitor, type Watched } from './monitor.ts'
export { createPlaces } from './places.ts'
export { createProber, type ConnectRules, type Finding, type Prober, type Target } from './probe.ts'
export {
  healthRoutes,
  type HealthReports,
  type MonitorReport,
  type ProcessHealth,
} from './routes.ts'
export type { Believed, Evidence } from './state.ts'
export { createCheckStatistics, type CheckStatistics, type Distribution } from './statistics.ts'
