/** The public face of the registry. */
export type { Granted, GrantedCredentials, RegistrationCredentials } from './credentials-port.ts'
export type { InstanceRecord, ServiceRecord } from './records.ts'
export { createRegistry, type Registry, type RegistryOptions } from './registry.ts'
export { registryRoutes } from './routes.ts'
export type { Traffic, TrafficInstance, TrafficService, TrafficUpdate } from './traffic.ts'
export { createRegistryView } from './view.ts'
export type { HouseSnapshot, RegistryView, ServiceSnapshot, ViewChange } from './view.ts'
