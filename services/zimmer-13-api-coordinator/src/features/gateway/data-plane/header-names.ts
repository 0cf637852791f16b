/**
 * What becomes of a header field, by its name. Remembered by the spelling on the wire, so that a
 * request costs one lookup per field and no lower-casing.
 */

export type FieldKind =
  /** Travels on as it is. */
  | 'pass'
  /** Belongs to one connection (RFC 9110 section 7.6.1), or must not come from a client. */
  | 'drop'
  | 'authorization'
  | 'connection'
  | 'content-length'
  | 'content-type'
  | 'expect'
  | 'haus-source'
  | 'haus-token'
  | 'host'
  | 'idempotency-key'
  | 'relay'
  | 'traceparent'
  | 'transfer-encoding'
  | 'upgrade'
  | 'via'
  | 'x-request-id'

export interface Field {
  /** In lower case. */
  readonly name: string
  readonly kind: FieldKind
}

/** Names in use in one house; somebody who sends thousands makes only himself slow. */
const rememberedMax = 2_048

const hopByHop = [
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'http2-settings',
]

const inRequest: ReadonlyMap<string, FieldKind> = new Map<string, FieldKind>([
  ...hopByHop.map((name): [string, FieldKind] => [name, 'drop']),
  // Whatever says who is in front is the gateway's to say.
  ...[
    'forwarded',
    'x-real-ip',
    'x-client-ip',
    'true-client-ip',
    'x-original-url',
    'x-rewrite-url',
  ].map((name): [string, FieldKind] => [name, 'drop']),
  ...(
    [
      'authorization',
      'connection',
      'content-length',
      'expect',
      'haus-token',
      'host',
      'idempotency-key',
      'traceparent',
      'transfer-encoding',
      'upgrade',
      'via',
      'x-request-id',
    ] as const
  ).map((name): [string, FieldKind] => [name, name]),
])

const inAnswer: ReadonlyMap<string, FieldKind> = new Map<string, FieldKind>([
  ...hopByHop.map((name): [string, FieldKind] => [name, 'drop']),
  ['transfer-encoding', 'drop'],
  ['upgrade', 'drop'],
  ['connection', 'connection'],
  ['content-length', 'content-length'],
  ['content-type', 'content-type'],
  // An answer of a service cannot pass for one of the gateway, nor its id for that of the request.
  ['haus-source', 'drop'],
  ['x-request-id', 'drop'],
])

export const relayFieldPrefix = 'haus-relay'

function requestKind(name: string): FieldKind {
  const known = inRequest.get(name)
  if (known !== undefined) return known
  // Programs behind read `X_Forwarded_For` and `X-Forwarded-For` as one variable.
  if (name.includes('_')) return 'drop'
  if (name.startsWith(relayFieldPrefix)) return 'relay'
  return name.startsWith('x-forwarded-') || name.startsWith('haus-') ? 'drop' : 'pass'
}

function remember(kindOf: (name: string) => FieldKind): (written: string) => Field {
  const remembered = new Map<string, Field>()
  return (written) => {
    const known = remembered.get(written)
    if (known !== undefined) return known
    const name = written.toLowerCase()
    const field = { name, kind: kindOf(name) }
    if (remembered.size >= rememberedMax) remembered.clear()
    remembered.set(written, field)
    return field
  }
}

export const requestField = remember(requestKind)
export const answerField = remember((name) => inAnswer.get(name) ?? 'pass')

/** A client may not have these taken away by naming them in Connection: somebody decides by them. */
const notNominated: ReadonlySet<string> = new Set([
  'host',
  'authorization',
  'cookie',
  'content-length',
  'content-encoding',
  'transfer-encoding',
  'forwarded',
  'traceparent',
  'tracestate',
  'via',
  'origin',
  'x-real-ip',
  'x-request-id',
  'idempotency-key',
])

export function mayBeNominated(name: string): boolean {
  return !notNominated.has(name) && !name.startsWith('x-forwarded-') && !name.startsWith('haus-')
}
