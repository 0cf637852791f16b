/** Everything that can be asked of the coordinator, in the order in which the examples tell their story. */
import type { Operation } from './operation.ts'
import * as credentials from './credentials.ts'
import * as events from './events.ts'
import * as health from './health.ts'
import * as identity from './identity.ts'
import * as registry from './registry.ts'
import * as system from './system.ts'

export const catalogue: readonly Operation[] = [
  health.getLive,
  health.getReady,
  health.getHealth,
  identity.createServiceKey,
  identity.listServiceKeys,
  identity.issueToken,
  identity.getJwks,
  credentials.createCredential,
  credentials.listCredentials,
  credentials.getCredential,
  credentials.getServiceCredentials,
  registry.registerInstance,
  registry.heartbeat,
  registry.discover,
  registry.listServices,
  registry.getService,
  health.getHouseHealth,
  health.getServicesHealth,
  health.getServiceHealth,
  health.getSystemHealth,
  registry.updateInstance,
  registry.updateService,
  registry.getServiceConfig,
  registry.putServiceConfig,
  credentials.addCredentialVersion,
  credentials.updateCredential,
  credentials.revealCredential,
  events.streamEvents,
  events.listAudit,
  registry.deregisterInstance,
  registry.deleteService,
  credentials.deleteCredential,
  identity.revokeServiceKey,
  system.getOpenApi,
  system.getDocs,
  system.getMetrics,
]
