/**
 * Which door a Host header knocks at: the house itself, one service, or somebody else's name.
 *
 * A foreign name leads nowhere unless a route is published for it, because a page in a browser
 * can make its own name resolve to this address (DNS rebinding).
 */
import { isIP } from 'node:net'

export interface Host {
  /** In lower case, without port; empty for an HTTP/1.0 request that has none. */
  readonly name: string
  /** The label before the gateway's domain; null when the host is not below it. */
  readonly label: string | null
  /** Addresses the house itself, where `/{service}/...` leads on. */
  readonly own: boolean
}

/** A client sends one or two; those of somebody who tries every name are forgotten again. */
const rememberedMax = 1_024

const pattern =
  /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9A-Za-z_](?:[0-9A-Za-z._-]{0,252})))(?::(\d{1,5}))?$/

/** `names`: by which clients reach the house, beside IP addresses, `localhost` and the domain. */
export function createHostReader(
  domain: string,
  names: readonly string[],
): (host: string) => Host | null {
  const own = new Set(['localhost', domain, ...names.map((name) => name.toLowerCase())])
  const suffix = `.${domain}`
  const remembered = new Map<string, Host>()

  function read(text: string): Host | null {
    const match = pattern.exec(text)
    if (match === null) return null
    const [, v6, named, port] = match
    if (port !== undefined && Number(port) > 65_535) return null
    if (v6 !== undefined) {
      return isIP(v6) === 6 ? { name: v6.toLowerCase(), label: null, own: true } : null
    }
    if (named === undefined || named.includes('..')) return null
    const name = named.toLowerCase().replace(/\.$/, '')
    const label = name.endsWith(suffix) ? name.slice(0, -suffix.length) : null
    return { name, label, own: label === null && (own.has(name) || isIP(name) === 4) }
  }

  return (text) => {
    const known = remembered.get(text)
    if (known !== undefined) return known
    const host = read(text)
    if (host === null) return null
    if (remembered.size >= rememberedMax) remembered.clear()
    remembered.set(text, host)
    return host
  }
}
