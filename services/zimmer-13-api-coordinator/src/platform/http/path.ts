/**
 * The one form of a path. Two readers of one path (a router and a permission check, a proxy in
 * front and the house behind it) must never see two different resources, so a path that could be
 * read in two ways is refused instead of being repaired.
 */

/** Longer than any route with its parameters and a full page cursor; a longer target is a mistake or an attack. */
export const targetMaxChars = 4096

/** Most paths, in one look: plain segments, no empty ones, no percent-encoding. */
const plainPath = /^\/$|^(?:\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$/

/** Null when the target (path and query as on the wire) is plain; else what is wrong with it. */
export function targetFault(target: string): string | null {
  if (target.length > targetMaxChars) {
    return `The path and query may have at most ${targetMaxChars} characters.`
  }
  const queryAt = target.indexOf('?')
  const path = queryAt === -1 ? target : target.slice(0, queryAt)
  if (plainPath.test(path)) return queryAt === -1 ? null : queryFault(target)
  return pathFault(path) ?? (queryAt === -1 ? null : queryFault(target))
}

function pathFault(path: string): string | null {
  if (!path.startsWith('/')) {
    return 'Send the path alone, beginning with one slash: a full URL, or `*`, is not taken.'
  }
  if (path.includes('//')) return 'Write each slash of the path once.'
  if (path.endsWith('/') && path !== '/') return 'Leave out the slash at the end of the path.'
  if (path.includes('\\')) return 'Use slashes in the path, not backslashes.'
  if (path.includes('#')) return 'Leave the fragment (from `#` on) out of the path.'
  // A matrix parameter: some readers cut it off before they route.
  if (path.includes(';')) return 'Leave `;` out of the path.'
  if (!/^[\x21-\x7e]*$/.test(path)) {
    return 'Percent-encode every character of the path that is not printable ASCII.'
  }
  if (/%(?![0-9A-Fa-f]{2})/.test(path)) return 'Write `%` in the path as `%25`.'
  // The encoded forms of what would change the structure: slash, backslash, dot, NUL, percent, `?`, `#`, `;`.
  if (/%(?:2[Ff]|5[Cc]|2[Ee]|0[0-9A-Fa-f]|1[0-9A-Fa-f]|7[Ff]|25|3[FfBb]|23)/.test(path)) {
    return 'Do not percent-encode slashes, dots, backslashes, control characters or `% ? # ;` in the path.'
  }
  if (/\/\.{1,2}(?:\/|$)/.test(path)) return 'Resolve `.` and `..` before sending the path.'
  try {
    decodeURI(path)
  } catch {
    return 'Percent-encode the path from UTF-8.'
  }
  return null
}

function queryFault(target: string): string | null {
  return target.includes('#') ? 'Leave the fragment (from `#` on) out of the query.' : null
}
