/** The public face of the gateway. */
export { createGateway, type Gateway } from './gateway.ts'
export { durationBoundsMs, type GatewayCounts } from './messages.ts'
export { createRelay } from './relay.ts'
export { RouteView } from './route-view.ts'
export { gatewayRoutes } from './routes.ts'
export { createGatewayRoutes } from './service.ts'
