/**
 * Who may do what, as one table. Every operation names exactly one permission.
 *
 * `own`: a service may, if the service that the request names is itself.
 * `seen`: a service may, and gets what it may see: itself and what it depends on.
 */
export const permissions = {
  public: { operator: true, service: 'any' },
  'metrics.read': { operator: true, service: 'none' },
  'discovery.read': { operator: true, service: 'any' },
  'services.read': { operator: true, service: 'seen' },
  'services.register': { operator: true, service: 'own' },
  'services.manage': { operator: true, service: 'none' },
  'instances.write': { operator: true, service: 'own' },
  'config.read': { operator: true, service: 'own' },
  'config.write': { operator: true, service: 'none' },
  'credentials.read': { operator: true, service: 'own' },
  'credentials.manage': { operator: true, service: 'none' },
  'keys.manage': { operator: true, service: 'none' },
  'gateway.call': { operator: true, service: 'any' },
  'gateway.manage': { operator: true, service: 'none' },
  'events.read': { operator: true, service: 'seen' },
  'audit.read': { operator: true, service: 'none' },
  'system.read': { operator: true, service: 'none' },
} as const satisfies Record<string, { operator: true; service: 'any' | 'own' | 'seen' | 'none' }>

export type Permission = keyof typeof permissions
