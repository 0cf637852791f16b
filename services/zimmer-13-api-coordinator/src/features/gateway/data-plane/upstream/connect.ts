/** How a connection to an instance is opened: by the rules of the registry, with TLS where it is asked for. */
import net, { isIP, type LookupFunction, type OnReadOpts, type Socket } from 'node:net'
import tls from 'node:tls'
import type { TrafficInstance } from '../../messages.ts'

/** The rules of the registry, asked at every connect. */
export interface ConnectRules {
  refusal(ip: string, port: number): string | null
  lookupFor(port: number): LookupFunction
}

export class ConnectRefused extends Error {
  override readonly name = 'ConnectRefused'
}

export class Connector {
  /** What a request without a Host of its own is sent with. */
  readonly host: string
  readonly #at: TrafficInstance
  readonly #rules: ConnectRules
  readonly #isAddress: boolean
  /** Of the last TLS connection: a handshake that goes on from it costs a tenth. */
  #session: Buffer | undefined

  constructor(at: TrafficInstance, rules: ConnectRules) {
    this.#at = at
    this.#rules = rules
    this.#isAddress = isIP(at.address) !== 0
    this.host = `${at.address.includes(':') ? `[${at.address}]` : at.address}:${at.port}`
  }

  get isTls(): boolean {
    return this.#at.scheme === 'https'
  }

  /**
   * A socket on its way; certificates are verified, by name where the instance has one.
   * @throws ConnectRefused
   */
  open(onread: OnReadOpts): Socket {
    const { address: host, port } = this.#at
    const why = this.#isAddress ? this.#rules.refusal(host, port) : null
    if (why !== null) throw new ConnectRefused(`${host} ${why}`)
    const options = {
      host,
      port,
      onread,
      noDelay: true,
      keepAlive: true,
      ...(this.#isAddress ? {} : { lookup: this.#rules.lookupFor(port) }),
    }
    if (!this.isTls) return net.connect(options)
    const socket = tls.connect({
      ...options,
      ALPNProtocols: ['http/1.1'],
      ...(this.#isAddress ? {} : { servername: host }),
      ...(this.#session === undefined ? {} : { session: this.#session }),
    })
    socket.on('session', (session) => (this.#session = session))
    return socket
  }
}
