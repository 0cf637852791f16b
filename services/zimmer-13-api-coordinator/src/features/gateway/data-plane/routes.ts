/** Published routes: the longest prefix of whole segments wins, and one for a host before one for all. */
import type { RoutedPrefix } from '../messages.ts'

export interface PublishedRoutes {
  readonly count: number
  /** The route for this request; null: nobody has published it. */
  find(host: string, anyHost: boolean, path: string, method: string): RoutedPrefix | null
}

export function compileRoutes(routes: readonly RoutedPrefix[]): PublishedRoutes {
  const byHost = new Map<string, RoutedPrefix[]>()
  for (const route of routes) {
    const host = route.host ?? ''
    const same = byHost.get(host)
    if (same) same.push(route)
    else byHost.set(host, [route])
  }
  for (const same of byHost.values()) same.sort(bySpecificity)
  const everywhere = byHost.get('') ?? []

  return {
    count: routes.length,
    find(host, anyHost, path, method) {
      if (routes.length === 0) return null
      const own = byHost.get(host)
      const found = own && host !== '' ? first(own, path, method) : null
      return found ?? (anyHost ? first(everywhere, path, method) : null)
    },
  }
}

/** Longer prefixes first; of equal ones those that name methods. */
function bySpecificity(a: RoutedPrefix, b: RoutedPrefix): number {
  return (
    b.pathPrefix.length - a.pathPrefix.length ||
    Number(a.methods === null) - Number(b.methods === null)
  )
}

function first(routes: readonly RoutedPrefix[], path: string, method: string): RoutedPrefix | null {
  for (const route of routes) {
    if (!isBelow(path, route.pathPrefix)) continue
    if (route.methods === null || route.methods.includes(method)) return route
  }
  return null
}

function isBelow(path: string, prefix: string): boolean {
  if (prefix === '/') return true
  return path.startsWith(prefix) && (path.length === prefix.length || path[prefix.length] === '/')
}
