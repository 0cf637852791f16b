/** Dependency cycles through one service. They are allowed; an operator wants to know of them. */

/** More would be a list nobody reads; each direct dependency yields at most one. */
const cyclesMax = 8

/** The shortest cycle over each direct dependency, starting with `service`. */
export function findCycles(
  service: string,
  dependenciesOf: (service: string) => readonly string[],
): string[][] {
  const cycles: string[][] = []
  for (const first of dependenciesOf(service)) {
    if (cycles.length === cyclesMax) break
    const path = first === service ? [] : shortestPath(first, service, dependenciesOf)
    if (path) cycles.push([service, ...path])
  }
  return cycles
}

/** From `from` up to, not including, `to`; null when there is no way. */
function shortestPath(
  from: string,
  to: string,
  dependenciesOf: (service: string) => readonly string[],
): string[] | null {
  const cameFrom = new Map<string, string | null>([[from, null]])
  // A Map iterates over what is added meanwhile: it is the queue of the search too.
  for (const current of cameFrom.keys()) {
    for (const next of dependenciesOf(current)) {
      if (next === to) return pathTo(current, cameFrom)
      if (!cameFrom.has(next)) cameFrom.set(next, current)
    }
  }
  return null
}

function pathTo(end: string, cameFrom: ReadonlyMap<string, string | null>): string[] {
  const path: string[] = []
  for (let at: string | null | undefined = end; at != null; at = cameFrom.get(at)) path.push(at)
  return path.toReversed()
}
