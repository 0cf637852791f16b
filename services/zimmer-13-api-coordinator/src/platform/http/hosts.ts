/**
 * Which names this house answers to. A page in a browser can make its own name resolve to a
 * loopback address and then read the answers (DNS rebinding); it cannot change the Host header,
 * so a Host that is not ours is refused. IP literals are safe: there is no name to rebind.
 */
import { isIP } from 'node:net'

export type HostVerdict = 'own' | 'foreign' | 'malformed'

/** Distinct Host values remembered; a client sends one or two, an attacker's are not remembered. */
const rememberedMax = 256

/** `names`: host names without port; a leading `*.` takes every name below. */
export function createHostCheck(names: readonly string[]): (host: string) => HostVerdict {
  const exact = new Set(['localhost'])
  const suffixes = ['.localhost']
  for (const name of names) {
    const plain = withoutFinalDot(name.toLowerCase())
    if (plain.startsWith('*.')) suffixes.push(plain.slice(1))
    else exact.add(plain)
  }
  const remembered = new Set<string>()

  return (host) => {
    if (remembered.has(host)) return 'own'
    const name = hostName(host)
    if (name === null) return 'malformed'
    const own =
      isIP(name) !== 0 || exact.has(name) || suffixes.some((suffix) => name.endsWith(suffix))
    if (!own) return 'foreign'
    if (remembered.size < rememberedMax) remembered.add(host)
    return 'own'
  }
}

/** The name in a Host header, in lower case and without port; null when the header is not well formed. */
function hostName(host: string): string | null {
  const match =
    /^(?:\[(?<v6>[0-9A-Fa-f:.]{2,45})\]|(?<name>[0-9A-Za-z_](?:[0-9A-Za-z._-]{0,252})))(?::(?<port>\d{1,5}))?$/.exec(
      host,
    )
  if (match === null) return null
  const { v6, name, port } = match.groups ?? {}
  if (port !== undefined && Number(port) > 65535) return null
  if (v6 !== undefined) return isIP(v6) === 6 ? v6.toLowerCase() : null
  if (name === undefined || name.includes('..')) return null
  return withoutFinalDot(name.toLowerCase())
}

function withoutFinalDot(name: string): string {
  return name.endsWith('.') ? name.slice(0, -1) : name
}
