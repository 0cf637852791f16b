import { streamEvents } from '@haus/contract'
import type { Routes } from '../../platform/http/index.ts'
import type { Events } from './events.ts'

export function eventRoutes(routes: Routes, events: Events): void {
  routes.implement(streamEvents, ({ query, headers, context }) => ({
    status: 200,
    headers: {
      // A buffering proxy in front would hold events back.
      'x-accel-buffering': 'no',
    },
    stream: events.open(context, query, headers['last-event-id']?.toString()),
  }))
}
