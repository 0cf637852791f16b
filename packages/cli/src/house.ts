/** The house over HTTP, and its refusals as sentences with an exit code and a next step. */
import { closestName } from '@haus/contract/closest-name'
import type { HausClient } from '@haus/sdk/client'
import {
  createClient,
  HausApiError,
  HausUnreachableError,
  readSecretFile,
  SecretFileError,
  serviceTokens,
  tokenFile,
} from '@haus/sdk/client'
import type { Connection, Speaker } from './connection.ts'
import type { ExitName } from './failure.ts'
import { Failure, systemCodeOf } from './failure.ts'

export interface House {
  readonly url: string
  /** Its refusals are Failures. @throws Failure when nobody can speak. */
  readonly client: HausClient
  /** Needs no token. */
  readonly anonymous: HausClient
}

export function openHouse(connection: Connection): House {
  const { url, speaker, mute } = connection
  const explain = (error: unknown): unknown => explained(error, connection)
  const anonymous = withExplanations(createClient({ url }), explain)
  const client =
    speaker === undefined
      ? undefined
      : withExplanations(createClient({ url, tokens: tokensOf(speaker, url) }), explain)
  return {
    url,
    anonymous,
    get client() {
      if (client === undefined) throw mute ?? new Error('no speaker and no reason for it')
      return client
    },
  }
}

function tokensOf(speaker: Speaker, url: string) {
  if (speaker.kind === 'token-file') return tokenFile(speaker.file, speaker.what)
  const { clientId, secretFile } = speaker
  return serviceTokens({
    url,
    key: async () => ({
      clientId,
      clientSecret: await readSecretFile(secretFile, 'HAUS_CLIENT_SECRET_FILE'),
    }),
  })
}

function withExplanations(client: HausClient, explain: (error: unknown) => unknown): HausClient {
  return {
    ...client,
    call: async (id, ...request) => {
      try {
        return await client.call(id, ...request)
      } catch (error) {
        throw explain(error)
      }
    },
  }
}

function explained(error: unknown, connection: Connection): unknown {
  if (error instanceof HausUnreachableError) return unreachable(error, connection.url)
  if (error instanceof SecretFileError) {
    return new Failure('notAllowed', error.message, {
      hint: 'Run as the user it belongs to, or name another file with --token-file or HAUS_TOKEN_FILE.',
      code: 'token_file_unusable',
    })
  }
  if (!(error instanceof HausApiError)) return error
  const hint = hintOf(error, connection)
  return new Failure(exitOf(error.status), error.message, {
    code: error.code,
    fields: error.fields,
    ...(hint !== undefined && { hint }),
  })
}

function unreachable(error: HausUnreachableError, url: string): Failure {
  const code = error.reason
  if (error.reason === 'not_haus') {
    return new Failure('unreachable', `What answers at ${url} is not a house.`, {
      hint: 'Name the address of its API with --url or HAUS_URL; `haus up` prints it.',
      code,
    })
  }
  if (error.reason === 'timeout') {
    return new Failure('unreachable', `The house at ${url} did not answer in time.`, {
      hint: 'What was asked may have been done: look before you ask again.',
      code,
    })
  }
  const causes = [...causesOf(error)].map(systemCodeOf)
  if (causes.some((each) => each !== undefined && /CERT|SELF_SIGNED|VERIFY|ISSUER/.test(each))) {
    return new Failure('unreachable', `The certificate of ${url} is not one this machine trusts.`, {
      hint: 'Name the file of its authority in NODE_EXTRA_CA_CERTS.',
      code: 'certificate_untrusted',
    })
  }
  return new Failure('unreachable', `The house does not answer at ${url}.`, {
    hint: 'Start it with `haus up`, or name another with --url.',
    code,
  })
}

function* causesOf(error: unknown): Generator {
  // A chain that names itself would never end.
  for (let depth = 0; depth < 8 && error instanceof Error; depth += 1) {
    yield error
    error = error.cause
  }
}

function exitOf(status: number): ExitName {
  if (status === 401 || status === 403) return 'notAllowed'
  if (status === 404) return 'notFound'
  if (status === 409) return 'conflict'
  if (status === 429 || status === 503) return 'unavailable'
  return status >= 500 ? 'internal' : 'usage'
}

function hintOf(error: HausApiError, { url, speaker }: Connection): string | undefined {
  const { code, status, requestId } = error
  if (code === 'token_invalid' || code === 'token_expired') {
    const file = speaker?.kind === 'token-file' ? speaker.file : undefined
    return file === undefined
      ? undefined
      : `The token in ${file} is not one of the house at ${url}: name another with --token-file.`
  }
  if (code === 'forbidden' && speaker?.kind === 'key') {
    return 'This is for operators: name the file of an operator token with --token-file.'
  }
  if (status === 429 || status === 503) return 'Try again in a moment.'
  if (status >= 500) return `The log of the house has more under the request id ${requestId}.`
  return undefined
}

/** `There is no …`, with the name that was probably meant. */
export function notFound(
  kind: string,
  name: string,
  known: readonly string[],
  code: string,
): Failure {
  const near = closestName(name, known)
  const some = known.slice(0, 8).join(', ')
  return new Failure('notFound', `There is no ${kind} "${name}".`, {
    code,
    hint:
      near !== null
        ? `Did you mean ${near}?`
        : known.length === 0
          ? `The house has no ${kind} yet.`
          : `The house knows ${some}${known.length > 8 ? ` and ${known.length - 8} more` : ''}.`,
  })
}

export interface PageQuery {
  readonly limit: number
  readonly cursor?: string
}

export interface Page<T> {
  readonly items: T[]
  readonly nextCursor: string | null
}

const pageSize = 1000

/** A list as a whole, up to `limit`; `nextCursor` is null when nothing is left. */
export async function collect<T>(
  limit: number,
  ask: (query: PageQuery) => Promise<{ readonly body: Page<T> }>,
): Promise<Page<T>> {
  const items: T[] = []
  let cursor: string | null = null
  do {
    const size = Math.min(pageSize, limit - items.length)
    const { body }: { readonly body: Page<T> } = await ask({
      limit: size,
      ...(cursor !== null && { cursor }),
    })
    items.push(...body.items)
    cursor = body.nextCursor
  } while (cursor !== null && items.length < limit)
  return { items, nextCursor: cursor }
}
