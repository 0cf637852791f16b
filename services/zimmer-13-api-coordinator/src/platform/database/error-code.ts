/** Of an error of the system or of a database, not by its class: PGlite's are not the driver's. */
export function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
