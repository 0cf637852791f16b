/**
 * What becomes of a header field, by its name. Remembered by the spelling on the wire, so that a
 * request costs one lookup per field and no lower-casing.
 */

type AnyFieldKind =
  /** Travels on as it is. */
  | 'pass'
  /** Belongs to one connection (RFC 9110 section 7.6.1), or must not come from a client. */
  | 'drop'
  | 'connection'
  | 'content-length'
  | 'transfer-encoding'

export type RequestFieldKind =
  | AnyFieldKind
  | 'authorization'
  | 'expect'
  | 'haus-token'
  | 'host'
  | 'idempotency-key'
  | 'relay'
  | 'traceparent'
  | 'upgrade'
  | 'via'
  | 'x-request-id'

export type AnswerFieldKind =
  | AnyFieldKind
  | 'content-type'
  | 'keep-alive'
  /** No name that a field may have; in a request Node's parser refuses it. */
  | 'malformed'

export interface Field<Kind> {
  /** In lower case. */
  readonly name: string
  readonly kind: Kind
}

/** Names in use in one house; somebody who sends thousands makes only himself slow. */
const rememberedMax = 2_048

const hopByHop = [
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'http2-settings',
]

const inRequest: ReadonlyMap<string, RequestFieldKind> = new Map<string, RequestFieldKind>([
  ...hopByHop.map((name): [string, RequestFieldKind] => [name, 'drop']),
  ['keep-alive', 'drop'],
  // Whatever says who is in front is the gateway's to say.
  ...[
    'forwarded',
    'x-real-ip',
    'x-client-ip',
    'true-client-ip',
    'x-original-url',
    'x-rewrite-url',
  ].map((name): [string, RequestFieldKind] => [name, 'drop']),
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
  ).map((name): [string, RequestFieldKind] => [name, name]),
])

const inAnswer: ReadonlyMap<string, AnswerFieldKind> = new Map<string, AnswerFieldKind>([
  ...hopByHop.map((name): [string, AnswerFieldKind] => [name, 'drop']),
  ['upgrade', 'drop'],
  ['connection', 'connection'],
  ['content-length', 'content-length'],
  ['content-type', 'content-type'],
  ['keep-alive', 'keep-alive'],
  ['transfer-encoding', 'transfer-encoding'],
  // An answer of a service cannot pass for one of the gateway, nor its id for that of the request.
  ['haus-source', 'drop'],
  ['x-request-id', 'drop'],
])

export const relayFieldPrefix = 'haus-relay'

/** RFC 9110 section 5.6.2: a token. */
const fieldName = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/

function requestKind(name: string): RequestFieldKind {
  const known = inRequest.get(name)
  if (known !== undefined) return known
  // Programs behind read `X_Forwarded_For` and `X-Forwarded-For` as one variable.
  if (name.includes('_')) return 'drop'
  if (name.startsWith(relayFieldPrefix)) return 'relay'
  return name.startsWith('x-forwarded-') || name.startsWith('haus-') ? 'drop' : 'pass'
}

function remember<Kind>(kindOf: (name: string) => Kind): (written: string) => Field<Kind> {
  const remembered = new Map<string, Field<Kind>>()
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
export const answerField = remember(
  (name) => inAnswer.get(name) ?? (fieldName.test(name) ? 'pass' : 'malformed'),
)

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
