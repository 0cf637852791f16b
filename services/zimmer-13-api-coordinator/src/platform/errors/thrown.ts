/** What was thrown, which may be anything. */

/**
 * The code that Node, a driver or the embedded engine gave an error, such as `ENOENT` or `23505`.
 * Not by its class: the engine's errors are not the driver's.
 */
export function codeOf(thrown: unknown): string | undefined {
  const code = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined
  return typeof code === 'string' ? code : undefined
}

export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}
