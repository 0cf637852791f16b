/** How a client shows who it is at the token endpoint: RFC 6749 section 2.3.1. Decides nothing. */
import { HausError } from '@haus/contract'

export interface ClientCredentials {
  readonly clientId: string
  readonly clientSecret: string
}

interface TokenRequestBody {
  readonly client_id?: string | undefined
  readonly client_secret?: string | undefined
}

/** As long as the longest id and secret of the body, escaped. */
const basicSizeMax = 2_048
const basic = /^basic +([A-Za-z0-9+/]+={0,2})$/i

export function readClientCredentials(
  authorization: string | undefined,
  body: TokenRequestBody,
): ClientCredentials {
  if (authorization !== undefined) {
    if (body.client_secret !== undefined) {
      throw wrongHeader(
        'The client is named twice, in the Authorization header and in the body: leave one of them out.',
      )
    }
    const shown = readBasic(authorization)
    if (body.client_id !== undefined && body.client_id !== shown.clientId) {
      throw wrongHeader('client_id in the body is not the one in the Authorization header.')
    }
    return shown
  }
  const { client_id: clientId, client_secret: clientSecret } = body
  if (clientId === undefined || clientSecret === undefined) {
    // RFC 6749 section 5.2 calls a request without client authentication `invalid_client` too.
    throw new HausError(
      'invalid_client',
      'The client is not named: send client_id and client_secret in the body, or HTTP Basic.',
    )
  }
  return { clientId, clientSecret }
}

function readBasic(authorization: string): ClientCredentials {
  const encoded = authorization.length > basicSizeMax ? undefined : basic.exec(authorization)?.[1]
  const text = encoded === undefined ? undefined : Buffer.from(encoded, 'base64').toString('utf8')
  const colon = text?.indexOf(':') ?? -1
  if (text === undefined || colon < 1) {
    throw wrongHeader(
      'The Authorization header is not HTTP Basic with client id and secret, or leave it out and send them in the body.',
    )
  }
  return {
    clientId: formDecode(text.slice(0, colon)),
    clientSecret: formDecode(text.slice(colon + 1)),
  }
}

/** Section 2.3.1 has both form-encoded before they are joined, so that a colon can be in either. */
function formDecode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    throw wrongHeader('Client id or secret in the Authorization header is not form-encoded.')
  }
}

function wrongHeader(detail: string): HausError {
  return new HausError('invalid_request', detail, {
    fields: [{ field: 'header.authorization', detail }],
  })
}
