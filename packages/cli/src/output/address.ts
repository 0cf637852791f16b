/** Addresses and endpoints as people write them. */

export function addressText(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** Null when there are none. */
export function endpointsText(
  endpoints: readonly { readonly path: string; readonly methods?: readonly string[] }[],
): string | null {
  if (endpoints.length === 0) return null
  return endpoints
    .map(({ path, methods }) => (methods === undefined ? path : `${methods.join(',')} ${path}`))
    .join('  ')
}
