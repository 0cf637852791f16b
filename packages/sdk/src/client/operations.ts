/** Generated from the catalogue of packages/contract; do not edit. */
import type {
  addCredentialVersion,
  createCredential,
  createGatewayRoute,
  createServiceKey,
  deleteCredential,
  deleteGatewayRoute,
  deleteService,
  deregisterInstance,
  discover,
  getCredential,
  getDocs,
  getGatewayRoute,
  getGatewayStatus,
  getHealth,
  getHouseHealth,
  getInstanceChecks,
  getJwks,
  getLive,
  getMetrics,
  getOpenApi,
  getReady,
  getService,
  getServiceConfig,
  getServiceCredentials,
  getServiceHealth,
  getServicesHealth,
  getSystemHealth,
  heartbeat,
  issueToken,
  listAudit,
  listCredentials,
  listGatewayRoutes,
  listServiceKeys,
  listServices,
  proxyRequest,
  putServiceConfig,
  registerInstance,
  revealCredential,
  revokeServiceKey,
  streamEvents,
  updateCredential,
  updateGatewayRoute,
  updateInstance,
  updateService,
} from '@haus/contract'

export interface OperationShape {
  readonly method: string
  /** With `{name}` placeholders. */
  readonly path: string
  /** Those of an answer; every other one is a refusal. */
  readonly statuses: readonly number[]
  /** Needs no token. */
  readonly public: boolean
}

export interface Operations {
  readonly addCredentialVersion: typeof addCredentialVersion
  readonly createCredential: typeof createCredential
  readonly createGatewayRoute: typeof createGatewayRoute
  readonly createServiceKey: typeof createServiceKey
  readonly deleteCredential: typeof deleteCredential
  readonly deleteGatewayRoute: typeof deleteGatewayRoute
  readonly deleteService: typeof deleteService
  readonly deregisterInstance: typeof deregisterInstance
  readonly discover: typeof discover
  readonly getCredential: typeof getCredential
  readonly getDocs: typeof getDocs
  readonly getGatewayRoute: typeof getGatewayRoute
  readonly getGatewayStatus: typeof getGatewayStatus
  readonly getHealth: typeof getHealth
  readonly getHouseHealth: typeof getHouseHealth
  readonly getInstanceChecks: typeof getInstanceChecks
  readonly getJwks: typeof getJwks
  readonly getLive: typeof getLive
  readonly getMetrics: typeof getMetrics
  readonly getOpenApi: typeof getOpenApi
  readonly getReady: typeof getReady
  readonly getService: typeof getService
  readonly getServiceConfig: typeof getServiceConfig
  readonly getServiceCredentials: typeof getServiceCredentials
  readonly getServiceHealth: typeof getServiceHealth
  readonly getServicesHealth: typeof getServicesHealth
  readonly getSystemHealth: typeof getSystemHealth
  readonly heartbeat: typeof heartbeat
  readonly issueToken: typeof issueToken
  readonly listAudit: typeof listAudit
  readonly listCredentials: typeof listCredentials
  readonly listGatewayRoutes: typeof listGatewayRoutes
  readonly listServiceKeys: typeof listServiceKeys
  readonly listServices: typeof listServices
  readonly proxyRequest: typeof proxyRequest
  readonly putServiceConfig: typeof putServiceConfig
  readonly registerInstance: typeof registerInstance
  readonly revealCredential: typeof revealCredential
  readonly revokeServiceKey: typeof revokeServiceKey
  readonly streamEvents: typeof streamEvents
  readonly updateCredential: typeof updateCredential
  readonly updateGatewayRoute: typeof updateGatewayRoute
  readonly updateInstance: typeof updateInstance
  readonly updateService: typeof updateService
}

export type OperationId = keyof Operations

export const operations: Readonly<Record<OperationId, OperationShape>> = {
  getLive: { method: 'GET', path: '/health/live', statuses: [200], public: true },
  getReady: { method: 'GET', path: '/health/ready', statuses: [200, 503], public: true },
  getHealth: { method: 'GET', path: '/health', statuses: [200, 503], public: true },
  createServiceKey: {
    method: 'POST',
    path: '/api/services/{name}/keys',
    statuses: [201],
    public: false,
  },
  listServiceKeys: {
    method: 'GET',
    path: '/api/services/{name}/keys',
    statuses: [200],
    public: false,
  },
  issueToken: { method: 'POST', path: '/api/auth/token', statuses: [200], public: true },
  getJwks: { method: 'GET', path: '/.well-known/jwks.json', statuses: [200], public: true },
  createCredential: {
    method: 'POST',
    path: '/api/credentials/create',
    statuses: [201],
    public: false,
  },
  listCredentials: { method: 'GET', path: '/api/credentials', statuses: [200], public: false },
  getCredential: { method: 'GET', path: '/api/credentials/{id}', statuses: [200], public: false },
  getServiceCredentials: {
    method: 'GET',
    path: '/api/credentials/service/{name}',
    statuses: [200, 304],
    public: false,
  },
  registerInstance: {
    method: 'POST',
    path: '/api/services/register',
    statuses: [201],
    public: false,
  },
  heartbeat: {
    method: 'POST',
    path: '/api/services/{name}/instances/{id}/heartbeat',
    statuses: [200],
    public: false,
  },
  discover: { method: 'GET', path: '/api/discover', statuses: [200], public: false },
  listServices: { method: 'GET', path: '/api/services', statuses: [200], public: false },
  getService: { method: 'GET', path: '/api/services/{name}', statuses: [200], public: false },
  getHouseHealth: { method: 'GET', path: '/api/health', statuses: [200], public: false },
  getServicesHealth: {
    method: 'GET',
    path: '/api/health/services',
    statuses: [200],
    public: false,
  },
  getServiceHealth: {
    method: 'GET',
    path: '/api/services/{name}/health',
    statuses: [200],
    public: false,
  },
  getInstanceChecks: {
    method: 'GET',
    path: '/api/services/{name}/instances/{id}/checks',
    statuses: [200],
    public: false,
  },
  getSystemHealth: { method: 'GET', path: '/api/health/system', statuses: [200], public: false },
  updateInstance: {
    method: 'PATCH',
    path: '/api/services/{name}/instances/{id}',
    statuses: [200],
    public: false,
  },
  updateService: { method: 'PATCH', path: '/api/services/{name}', statuses: [200], public: false },
  getServiceConfig: {
    method: 'GET',
    path: '/api/services/{name}/config',
    statuses: [200, 304],
    public: false,
  },
  putServiceConfig: {
    method: 'PUT',
    path: '/api/services/{name}/config',
    statuses: [200],
    public: false,
  },
  createGatewayRoute: {
    method: 'POST',
    path: '/api/gateway/routes',
    statuses: [201],
    public: false,
  },
  listGatewayRoutes: { method: 'GET', path: '/api/gateway/routes', statuses: [200], public: false },
  getGatewayRoute: {
    method: 'GET',
    path: '/api/gateway/routes/{id}',
    statuses: [200],
    public: false,
  },
  proxyRequest: { method: 'POST', path: '/api/gateway/proxy', statuses: [200], public: false },
  getGatewayStatus: { method: 'GET', path: '/api/gateway/status', statuses: [200], public: false },
  updateGatewayRoute: {
    method: 'PUT',
    path: '/api/gateway/routes/{id}',
    statuses: [200],
    public: false,
  },
  deleteGatewayRoute: {
    method: 'DELETE',
    path: '/api/gateway/routes/{id}',
    statuses: [204],
    public: false,
  },
  addCredentialVersion: {
    method: 'POST',
    path: '/api/credentials/{id}',
    statuses: [201],
    public: false,
  },
  updateCredential: {
    method: 'PUT',
    path: '/api/credentials/{id}',
    statuses: [200],
    public: false,
  },
  revealCredential: {
    method: 'POST',
    path: '/api/credentials/{id}/reveal',
    statuses: [200],
    public: false,
  },
  streamEvents: { method: 'GET', path: '/api/events', statuses: [200], public: false },
  listAudit: { method: 'GET', path: '/api/audit', statuses: [200], public: false },
  deregisterInstance: {
    method: 'DELETE',
    path: '/api/services/{name}/instances/{id}',
    statuses: [204],
    public: false,
  },
  deleteService: { method: 'DELETE', path: '/api/services/{name}', statuses: [204], public: false },
  deleteCredential: {
    method: 'DELETE',
    path: '/api/credentials/{id}',
    statuses: [204],
    public: false,
  },
  revokeServiceKey: {
    method: 'DELETE',
    path: '/api/services/{name}/keys/{clientId}',
    statuses: [204],
    public: false,
  },
  getOpenApi: { method: 'GET', path: '/openapi.json', statuses: [200], public: true },
  getDocs: { method: 'GET', path: '/docs', statuses: [200], public: true },
  getMetrics: { method: 'GET', path: '/metrics', statuses: [200], public: false },
}
