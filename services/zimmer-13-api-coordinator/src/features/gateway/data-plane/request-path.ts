/**
 * The path of a request, or why it is refused.
 *
 * The gateway routes by it and the service behind acts on it, so a path that two readers could
 * take for two different ones is refused and never repaired: what was matched is, byte for byte,
 * what is sent on. Absolute targets are refused too, since they name a second host.
 */

/** The head has 16 KiB; this leaves room for a token beside it. */
const targetMaxChars = 8_192

/** Nearly every path, in one look: plain segments, none that begins with a dot, no escapes. */
const plainPath = /^(?:\/[A-Za-z0-9_~!$&'()*+,=:@|[\]-][A-Za-z0-9._~!$&'()*+,=:@|[\]-]*)+\/?$|^\/$/
const pathCharacters = /^[A-Za-z0-9._~!$&'()*+,=:@|[\]%/-]*$/
/** Printable ASCII: anything else has to be escaped, and a fragment never travels. */
const queryCharacters = /^[\x21\x22\x24-\x7e]*$/
/** Escapes of what would change the structure: slash, backslash, `?`, `#`, `;`, control characters. */
const structuralEscape = /%(?:2[Ff]|5[Cc]|3[Ff]|23|3[Bb]|[01][0-9A-Fa-f]|7[Ff])/
const brokenEscape = /%(?![0-9A-Fa-f]{2})/
/** `.` and `..`, written out or escaped. */
const dotSegment = /\/(?:\.|%2[Ee]){1,2}(?:\/|$)/

/** Null: the path, as it stands before the query, is fine; else what is wrong with it. */
export function pathFault(path: string): string | null {
  if (plainPath.test(path)) return null
  if (!path.startsWith('/')) {
    return 'Send the path alone, beginning with one slash: a full URL, or `*`, is not taken.'
  }
  if (path.includes('//')) return 'Write each slash of the path once.'
  if (!pathCharacters.test(path)) {
    return 'Percent-encode every character of the path that RFC 3986 does not allow there; `;`, `#` and backslashes are not taken.'
  }
  if (brokenEscape.test(path)) return 'Write `%` in the path as `%25`.'
  if (structuralEscape.test(path)) {
    return 'Do not percent-encode slashes, backslashes, control characters or `? # ;` in the path.'
  }
  if (dotSegment.test(path)) return 'Resolve `.` and `..` before sending the path.'
  try {
    decodeURIComponent(path)
  } catch {
    return 'Percent-encode the path from UTF-8.'
  }
  return null
}

/** What is wrong with a target (path and query as on the wire); null: nothing. */
export function targetFault(target: string, queryAt: number): string | null {
  if (target.length > targetMaxChars) {
    return `The path and query may have at most ${targetMaxChars} characters.`
  }
  if (queryAt === -1) return pathFault(target)
  const fault = pathFault(target.slice(0, queryAt))
  if (fault !== null) return fault
  return queryCharacters.test(target.slice(queryAt))
    ? null
    : 'Percent-encode every character of the query that is not printable ASCII, and leave the fragment out.'
}
