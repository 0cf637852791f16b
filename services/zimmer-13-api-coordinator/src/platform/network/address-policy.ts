/**
 * Which addresses may stand in the address book, and be connected to.
 *
 * Haus and its gateway connect to what is registered, so a registered address is a request that
 * Haus makes in somebody's name. A service speaks for the address it connects from and for what
 * the operator allows; nobody may point Haus at cloud metadata, at link-local addresses, at many
 * hosts at once, or at Haus itself. A host name is checked again at every connect, on the address
 * it resolves to, and the connection goes to exactly that address.
 */
import { lookup as systemLookup } from 'node:dns'
import { BlockList, isIP, SocketAddress, type LookupFunction } from 'node:net'
import { networkInterfaces } from 'node:os'
import { HausError } from '@haus/contract/errors'

export interface Listener {
  readonly address: string
  readonly port: number
}

export interface AddressPolicyOptions {
  /** CIDRs, such as `10.0.0.0/8`; checked by the configuration's loader and here again. */
  readonly allow: readonly string[]
  /** Where Haus itself listens, now. */
  readonly ownListeners: () => readonly Listener[]
  readonly localAddresses?: () => readonly string[]
}

export interface AddressPolicy {
  /**
   * The address in its one plain form, if `caller` may advertise it.
   * @throws HausError advertise_refused
   */
  admit(request: {
    readonly address: string
    readonly port: number
    readonly source: string
    readonly operator: boolean
  }): string
  /** Why Haus must not connect to this IP and port; null: it may. */
  refusal(ip: string, port: number): string | null
  /** For `net.connect`: resolves a host name and refuses it with any address that is refused. */
  lookupFor(port: number): LookupFunction
}

const knownMax = 4_096
const ownListener = 'is where Haus itself listens'

/** `refusal` found out at connect time, apart from what the network says. */
export class AddressRefused extends Error {
  override readonly name = 'AddressRefused'
}

type Family = 'ipv4' | 'ipv6'

interface Ip {
  readonly text: string
  readonly family: Family
}

export function createAddressPolicy(options: AddressPolicyOptions): AddressPolicy {
  const allowed = new BlockList()
  for (const cidr of options.allow) addCidr(allowed, cidr)
  const localAddresses = options.localAddresses ?? interfaceAddresses

  function isOwnListener(ip: Ip, port: number): boolean {
    return options.ownListeners().some((listener) => {
      if (listener.port !== port) return false
      const bound = parseIp(listener.address)
      if (!bound) return false
      if (bound.text === ip.text) return true
      // Bound to every address: each address of this machine leads to it.
      const everywhere = bound.text === '0.0.0.0' || bound.text === '::'
      return everywhere && (isLoopback(ip) || localAddresses().some((own) => own === ip.text))
    })
  }

  /** A dozen range checks cost 20 µs, and a house registers the same few addresses again and again. */
  const known = new Map<string, string | null>()

  function refusalOf(ip: Ip, port: number): string | null {
    let why = known.get(ip.text)
    if (why === undefined) {
      why = rangeRefusal(ip)
      if (known.size >= knownMax) known.clear()
      known.set(ip.text, why)
    }
    if (why !== null) return why
    const inner = embeddedIpv4(ip)
    if (inner && isOwnListener({ text: inner, family: 'ipv4' }, port)) return ownListener
    return isOwnListener(ip, port) ? ownListener : null
  }

  return {
    admit({ address, port, source, operator }) {
      const ip = parseIp(address)
      if (!ip) {
        const name = hostName(address)
        if (!operator) {
          throw refused(
            address,
            'is a host name, which only an operator may register: leave the field out to use the address you connect from',
          )
        }
        return name
      }
      const why = refusalOf(ip, port)
      if (why !== null)
        throw refused(address, `${why}: give the address on which the service listens`)
      if (operator) return ip.text
      const peer = parseIp(source)
      const own = peer !== null && (peer.text === ip.text || (isLoopback(peer) && isLoopback(ip)))
      if (!own && !allowed.check(ip.text, ip.family)) {
        throw refused(
          address,
          `is not the address you connect from (${source}): leave the field out, or ask the operator to add its network to HAUS_ADVERTISE_ALLOW`,
        )
      }
      return ip.text
    },

    refusal(address, port) {
      const ip = parseIp(address)
      return ip ? refusalOf(ip, port) : 'is not an IP address'
    },

    lookupFor(port) {
      return (name, { all, family, hints }, callback) => {
        const fail = (error: NodeJS.ErrnoException): void => callback(error, [])
        systemLookup(
          name,
          {
            all: true,
            ...(family === undefined ? {} : { family }),
            ...(hints === undefined ? {} : { hints }),
          },
          (error, found) => {
            if (error) {
              fail(error)
              return
            }
            for (const { address } of found) {
              const ip = parseIp(address)
              const why = ip ? refusalOf(ip, port) : 'is not an IP address'
              if (why !== null) {
                fail(new AddressRefused(`"${name}" leads to ${address}, which ${why}`))
                return
              }
            }
            const [first] = found
            if (all === true || !first) callback(null, found)
            else callback(null, first.address, first.family)
          },
        )
      }
    },
  }
}

const ipv4Pattern = /^\d{1,3}(?:\.\d{1,3}){3}$/
const labelPattern = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/

/**
 * An IP in its one plain form; null when it is not one. IPv4 inside IPv6 becomes IPv4, because
 * the kernel connects there and every rule must see where that is.
 */
function parseIp(address: string): Ip | null {
  const kind = isIP(address)
  if (kind === 4) return { text: address, family: 'ipv4' }
  if (kind !== 6 || address.includes('%')) return null
  const text = new SocketAddress({ address, family: 'ipv6' }).address
  const mapped = text.startsWith('::ffff:') ? text.slice('::ffff:'.length) : ''
  return isIP(mapped) === 4 ? { text: mapped, family: 'ipv4' } : { text, family: 'ipv6' }
}

/** Resolvers of many languages read `0x7f.1`, `017700000001` and `2130706433` as 127.0.0.1. */
function hostName(address: string): string {
  const name = address.toLowerCase().replace(/\.$/, '')
  const labels = name.split('.')
  const last = labels.at(-1) ?? ''
  if (/^(?:\d+|0x[0-9a-f]*)$/.test(last) || ipv4Pattern.test(name)) {
    throw refused(address, 'is an IPv4 address in an unusual form: write four decimal numbers')
  }
  if (name.length > 253 || !labels.every((label) => labelPattern.test(label))) {
    throw refused(
      address,
      'is neither an IP address nor a host name: write 10.0.0.7, fd00::7 or node-7.example',
    )
  }
  if (metadataNames.has(name))
    throw refused(
      address,
      'is the metadata service of a cloud: give the address on which the service listens',
    )
  return name
}

function refused(address: string, why: string): HausError {
  const detail = `address "${address}" ${why}`
  return new HausError('advertise_refused', detail, { fields: [{ field: '/address', detail }] })
}

const metadataNames: ReadonlySet<string> = new Set([
  'metadata',
  'metadata.google.internal',
  'metadata.goog',
  'metadata.azure.internal',
  'metadata.tencentyun.com',
  'instance-data',
  'instance-data.ec2.internal',
])

function listOf(...cidrs: string[]): BlockList {
  const list = new BlockList()
  for (const cidr of cidrs) addCidr(list, cidr)
  return list
}

interface Forbidden {
  readonly cidrs: readonly string[]
  readonly why: string
}

const forbidden: readonly Forbidden[] = [
  {
    cidrs: [
      '169.254.169.254/32',
      '100.100.100.200/32',
      '168.63.129.16/32',
      'fd00:ec2::254/128',
      'fd20:ce::254/128',
    ],
    why: 'is the metadata service of a cloud',
  },
  { cidrs: ['169.254.0.0/16', 'fe80::/10'], why: 'is link-local' },
  { cidrs: ['0.0.0.0/8', '::/128'], why: 'is not an address to connect to' },
  { cidrs: ['255.255.255.255/32'], why: 'is the broadcast address' },
  { cidrs: ['224.0.0.0/4', 'ff00::/8'], why: 'is a multicast address' },
  { cidrs: ['240.0.0.0/4'], why: 'is reserved' },
]
const forbiddenLists = forbidden.map(({ cidrs, why }) => ({ list: listOf(...cidrs), why }))
/** A check costs 2 µs: most addresses are in none of the lists and need only this one. */
const anyForbidden = listOf(...forbidden.flatMap(({ cidrs }) => cidrs))

function rangeRefusal(ip: Ip): string | null {
  if (anyForbidden.check(ip.text, ip.family)) {
    for (const { list, why } of forbiddenLists) {
      if (list.check(ip.text, ip.family)) return why
    }
  }
  if (ip.family === 'ipv4') return null
  if (compatible.check(ip.text, ip.family) && !isLoopback(ip)) {
    return 'is IPv4 in a form of IPv6 that no network carries'
  }
  const inner = embeddedIpv4(ip)
  return inner === null ? null : rangeRefusal({ text: inner, family: 'ipv4' })
}

const loopback = listOf('127.0.0.0/8', '::1/128')

function isLoopback(ip: Ip): boolean {
  return loopback.check(ip.text, ip.family)
}

const compatible = listOf('::/96')
/** RFC 6052, and the prefix for a network's own use of RFC 8215, in the form that ends with the address. */
const nat64 = listOf('64:ff9b::/96', '64:ff9b:1::/48')
/** `::ffff:0:a.b.c.d`, SIIT of RFC 2765. */
const translated = listOf('::ffff:0:0:0/96')
const sixToFour = listOf('2002::/16')

/** The IPv4 address that a translator or tunnel would take out of an IPv6 one. */
function embeddedIpv4(ip: Ip): string | null {
  if (ip.family === 'ipv4') return null
  const groups = expand(ip.text)
  if (nat64.check(ip.text, 'ipv6') || translated.check(ip.text, 'ipv6')) {
    return dotted(groups[6], groups[7])
  }
  if (sixToFour.check(ip.text, 'ipv6')) return dotted(groups[1], groups[2])
  return null
}

function expand(text: string): number[] {
  const plain = text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, a, b, c, d) => {
    const high = (Number(a) << 8) | Number(b)
    const low = (Number(c) << 8) | Number(d)
    return `${high.toString(16)}:${low.toString(16)}`
  })
  const [before = '', after] = plain.split('::')
  const groupsOf = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16))
  const head = groupsOf(before)
  if (after === undefined) return head
  const tail = groupsOf(after)
  return [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail]
}

function dotted(high: number | undefined, low: number | undefined): string {
  const [a, b] = [high ?? 0, low ?? 0]
  return `${a >> 8}.${a & 255}.${b >> 8}.${b & 255}`
}

function addCidr(list: BlockList, cidr: string): void {
  const [address = '', bits = ''] = cidr.split('/')
  const kind = isIP(address)
  const widest = kind === 6 ? 128 : 32
  const prefix = bits === '' ? widest : Number(bits)
  if (kind === 0 || !/^\d*$/.test(bits) || prefix > widest) {
    throw new HausError(
      'config_invalid',
      `HAUS_ADVERTISE_ALLOW holds "${cidr}": write a network such as 10.0.0.0/8 or fd00::/8`,
    )
  }
  list.addSubnet(address, prefix, kind === 6 ? 'ipv6' : 'ipv4')
}

function interfaceAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .map(({ address }) => parseIp(address)?.text ?? address)
}
