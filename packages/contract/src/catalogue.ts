/** Everything that can be asked of the coordinator, in the order in which the examples tell their story. */
import type { Operation } from './operation.ts'
import * as credentials from './credentials.ts'
import * as discovery from './discovery.ts'
import * as events from './events.ts'
import * as gateway from './gateway.ts'
import * as health from './health.ts'
import * as identity from './identity.ts'
import * as registration from './registration.ts'
import * as services from './services.ts'
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
  registration.registerInstance,
  registration.heartbeat,
  discovery.discover,
  services.listServices,
  services.getService,
  health.getHouseHealth,
  health.getServicesHealth,
  health.getServiceHealth,
  health.getInstanceChecks,
  health.getSystemHealth,
  registration.updateInstance,
  services.updateService,
  services.getServiceConfig,
  services.putServiceConfig,
  gateway.createGatewayRoute,
  gateway.listGatewayRoutes,
  gateway.getGatewayRoute,
  gateway.proxyRequest,
  gateway.getGatewayStatus,
  gateway.updateGatewayRoute,
  gateway.deleteGatewayRoute,
  credentials.addCredentialVersion,
  credentials.updateCredential,
  credentials.revealCredential,
  events.streamEvents,
  events.listAudit,
  registration.deregisterInstance,
  services.deleteService,
  credentials.deleteCredential,
  identity.revokeServiceKey,
  system.getOpenApi,
  system.getDocs,
  system.getMetrics,
]
