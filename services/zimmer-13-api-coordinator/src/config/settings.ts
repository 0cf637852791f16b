/**
 * Every setting of the coordinator, once. The loader, the configuration page and the messages
 * about a wrong value are made from this list.
 */
import { isIP } from 'node:net'

/** A listener's address. Port 0: any free one. */
export interface ListenAddress {
  readonly host: string
  readonly port: number
}

export interface Setting<T> {
  readonly env: string
  /** The key in `haus.yaml`. */
  readonly key: string
  readonly description: string
  /** As text, for the reference; null: unset. */
  readonly defaultText: string | null
  /** @throws Error whose message says what the value should look like. */
  readonly parse: (text: string) => T
  /** Set when the value is secret: the reference says so, and no message repeats it. */
  readonly secret?: true
  /** Known by name, not yet at work in this release: setting it warns. */
  readonly later?: true
}

function setting<T>(definition: Setting<T>): Setting<T> {
  return definition
}

const text = (value: string): string => value

function parseAddress(value: string): ListenAddress {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(value)
  const host = match?.[1] ?? match?.[2] ?? ''
  const port = Number(match?.[3])
  if (!match || port > 65535 || (match[1] !== undefined && isIP(host) !== 6)) {
    throw new Error(
      'must be host:port, such as 127.0.0.1:8000 or [::1]:8000; port 0 takes any free one',
    )
  }
  return { host: host === '' ? '0.0.0.0' : host, port }
}

function parseBoolean(value: string): boolean {
  if (value === 'true') return true
  if (value === 'false') return false
  throw new Error('must be true or false')
}

function parseCidr(value: string): string {
  const [address = '', bits, ...rest] = value.split('/')
  const version = isIP(address)
  const prefix = bits === undefined ? (version === 4 ? 32 : 128) : Number(bits)
  const fits = version !== 0 && rest.length === 0 && (bits === undefined || /^\d{1,3}$/.test(bits))
  if (!fits || prefix > (version === 4 ? 32 : 128)) {
    throw new Error(
      `must be networks such as 10.0.0.0/8 or fd00::/8, separated by commas; “${value}” is not`,
    )
  }
  return `${address}/${prefix}`
}

function parseList<T>(parse: (value: string) => T): (value: string) => readonly T[] {
  return (value) =>
    value
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '')
      .map(parse)
}

function parseHostName(value: string): string {
  const name = value.toLowerCase()
  if (!/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(name)) {
    throw new Error(`must be host names without port, separated by commas; “${value}” is not`)
  }
  return name
}

function parseDatabaseUrl(value: string): string {
  const protocol = URL.canParse(value) ? new URL(value).protocol : ''
  if (protocol !== 'postgres:' && protocol !== 'postgresql:') {
    throw new Error('must be a postgres:// URL')
  }
  return value
}

export const logLevels = ['error', 'warn', 'info', 'debug'] as const
export type LogLevelName = (typeof logLevels)[number]

function parseLogLevel(value: string): LogLevelName {
  const level = logLevels.find((name) => name === value)
  if (level === undefined) throw new Error(`must be one of ${logLevels.join(', ')}`)
  return level
}

export const settings = {
  apiAddr: setting({
    env: 'HAUS_API_ADDR',
    key: 'apiAddr',
    description: 'Where the API listens. An address that is not loopback needs TLS.',
    defaultText: '127.0.0.1:8000',
    parse: parseAddress,
  }),
  apiHosts: setting({
    env: 'HAUS_API_HOSTS',
    key: 'apiHosts',
    description:
      'Host names, beside localhost and IP addresses, by which clients reach API and gateway. Requests with another Host are refused, unless a route is published for it, which stops DNS rebinding.',
    defaultText: '',
    parse: parseList(parseHostName),
  }),
  dataDir: setting({
    env: 'HAUS_DATA_DIR',
    key: 'dataDir',
    description: 'Where the house keeps its keys and, without a database URL, its database.',
    defaultText: './.haus',
    parse: text,
  }),
  databaseUrl: setting({
    env: 'HAUS_DATABASE_URL',
    key: 'databaseUrl',
    description: 'PostgreSQL 16 or newer. Unset: the embedded database in the data folder.',
    defaultText: null,
    parse: parseDatabaseUrl,
    secret: true,
  }),
  databaseUrlFile: setting({
    env: 'HAUS_DATABASE_URL_FILE',
    key: 'databaseUrlFile',
    description: 'A file with the database URL, so that its password is in no environment.',
    defaultText: null,
    parse: text,
  }),
  rootKeyFile: setting({
    env: 'HAUS_ROOT_KEY_FILE',
    key: 'rootKeyFile',
    description:
      'The root key. Everything encrypted depends on it: keep a copy apart from the database’s backups.',
    defaultText: '<data dir>/root.key',
    parse: text,
  }),
  advertiseAllow: setting({
    env: 'HAUS_ADVERTISE_ALLOW',
    key: 'advertiseAllow',
    description:
      'Networks whose addresses a service may advertise although its connection comes from another one.',
    defaultText: '',
    parse: parseList(parseCidr),
  }),
  tlsCertFile: setting({
    env: 'HAUS_TLS_CERT_FILE',
    key: 'tlsCertFile',
    description: 'Certificate chain of API and gateway, PEM. Goes with the key file.',
    defaultText: null,
    parse: text,
  }),
  tlsKeyFile: setting({
    env: 'HAUS_TLS_KEY_FILE',
    key: 'tlsKeyFile',
    description: 'Private key of that certificate, PEM.',
    defaultText: null,
    parse: text,
  }),
  allowPlaintext: setting({
    env: 'HAUS_ALLOW_PLAINTEXT',
    key: 'allowPlaintext',
    description:
      'Lets a listener that is not loopback run without TLS, where something in front ends it.',
    defaultText: 'false',
    parse: parseBoolean,
  }),
  logLevel: setting({
    env: 'HAUS_LOG_LEVEL',
    key: 'logLevel',
    description:
      'error, warn, info or debug. info logs each request through the gateway, debug each request to the API too.',
    defaultText: 'info',
    parse: parseLogLevel,
  }),
  gatewayAddr: setting({
    env: 'HAUS_GATEWAY_ADDR',
    key: 'gatewayAddr',
    description: 'Where the gateway listens. An address that is not loopback needs TLS.',
    defaultText: '127.0.0.1:8088',
    parse: parseAddress,
  }),
  gatewayDomain: setting({
    env: 'HAUS_GATEWAY_DOMAIN',
    key: 'gatewayDomain',
    description:
      'The domain under which each service has a host name, such as orders.haus.localhost.',
    defaultText: 'haus.localhost',
    parse: parseHostName,
  }),
  dnsAddr: setting({
    env: 'HAUS_DNS_ADDR',
    key: 'dnsAddr',
    description: 'Where DNS listens.',
    defaultText: null,
    parse: parseAddress,
    later: true,
  }),
  consulAddr: setting({
    env: 'HAUS_CONSUL_ADDR',
    key: 'consulAddr',
    description: 'Where the Consul-compatible API listens.',
    defaultText: null,
    parse: parseAddress,
    later: true,
  }),
  vaultAddr: setting({
    env: 'HAUS_VAULT_ADDR',
    key: 'vaultAddr',
    description: 'Where the Vault-compatible API listens.',
    defaultText: null,
    parse: parseAddress,
    later: true,
  }),
  redisUrl: setting({
    env: 'HAUS_REDIS_URL',
    key: 'redisUrl',
    description: 'Redis 7.2 or newer, for fan-out between replicas.',
    defaultText: null,
    parse: text,
    secret: true,
    later: true,
  }),
} as const

/** Set for clients, and harmless in the server's environment; `HAUS_TEST_*` belongs to the tests. */
export const foreignVariables = /^HAUS_(URL|CLIENT_ID|CLIENT_SECRET_FILE|TOKEN_FILE|TEST_.*)$/
