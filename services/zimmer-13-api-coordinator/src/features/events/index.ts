export { createEventBus, type EventBus } from './bus.ts'
export { createEvents, type Events } from './events.ts'
export { eventRoutes } from './routes.ts'
