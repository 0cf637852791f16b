/**
 * Which house, and who speaks: options, then the environment, then the data folder of a house on
 * this machine.
 *
 * A token is only ever named by a file, never by an argument or a variable's value: those are in
 * process lists and shell histories. The token that lies in a data folder goes to the house of that
 * folder and nowhere else, so that `--url` cannot hand it to a stranger.
 */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { Failure, fileFailure, systemCodeOf, usageFailure } from './failure.ts'

export type Speaker =
  | { readonly kind: 'token-file'; readonly file: string; readonly what: string }
  | { readonly kind: 'key'; readonly clientId: string; readonly secretFile: string }

export interface Connection {
  readonly url: string
  /** Undefined: only what is public can be asked. */
  readonly speaker: Speaker | undefined
  /** Why there is nobody to speak; the sentence for whoever needs one. */
  readonly mute: Failure | undefined
}

export interface ConnectionSources {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly url: string | undefined
  readonly tokenFile: string | undefined
}

/** @throws Failure */
export function findConnection({ env, cwd, url, tokenFile }: ConnectionSources): Connection {
  const dataDir = path.resolve(cwd, nonEmpty(env['HAUS_DATA_DIR']) ?? '.haus')
  const named = url ?? nonEmpty(env['HAUS_URL'])
  const own = readEndpoint(dataDir)
  if (named === undefined && own === undefined) {
    throw new Failure(
      'unreachable',
      `No house is open here: there is no ${dataDir}/endpoints.json.`,
      {
        hint: 'Start one with `haus up`, go to the folder of one, or name it with --url or HAUS_URL.',
        code: 'no_house',
      },
    )
  }
  const target = parseUrl(named ?? own ?? '', url === undefined ? 'HAUS_URL' : '--url')
  const { speaker, mute } = findSpeaker()
  return { url: target, speaker, mute }

  function findSpeaker(): Pick<Connection, 'speaker' | 'mute'> {
    const file = tokenFile ?? nonEmpty(env['HAUS_TOKEN_FILE'])
    if (file !== undefined) {
      const what = tokenFile === undefined ? 'HAUS_TOKEN_FILE' : '--token-file'
      return said({ kind: 'token-file', file: path.resolve(cwd, file), what })
    }
    const clientId = nonEmpty(env['HAUS_CLIENT_ID'])
    const secretFile = nonEmpty(env['HAUS_CLIENT_SECRET_FILE'])
    if (clientId !== undefined && secretFile !== undefined) {
      return said({ kind: 'key', clientId, secretFile: path.resolve(cwd, secretFile) })
    }
    const operatorToken = path.join(dataDir, 'operator.token')
    if (own !== undefined && sameHouse(target, own)) {
      return said({ kind: 'token-file', file: operatorToken, what: 'The operator token' })
    }
    return {
      speaker: undefined,
      mute: new Failure('notAllowed', `There is no token for ${target}.`, {
        hint: 'Name the file that holds it with --token-file or HAUS_TOKEN_FILE; the token of a data folder is only sent to the house of that folder.',
        code: 'no_token',
      }),
    }
  }
}

function said(speaker: Speaker): Pick<Connection, 'speaker' | 'mute'> {
  return { speaker, mute: undefined }
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text
}

/** Undefined when no house is open on that folder. */
function readEndpoint(dataDir: string): string | undefined {
  const file = path.join(dataDir, 'endpoints.json')
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCodeOf(error) ?? '')) return undefined
    // Unreadable is not absent: the folder of another user, most of the time.
    throw fileFailure('read', file, error)
  }
  const found = parseJson(text)
  const api = typeof found === 'object' && found !== null && 'api' in found ? found.api : undefined
  if (typeof api === 'string') return api
  throw new Failure('unreachable', `${file} does not name the address of a house.`, {
    hint: 'Name it with --url or HAUS_URL.',
    code: 'no_house',
  })
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** What is wrong with it could be a password in it, so it is not repeated. */
function parseUrl(text: string, source: string): string {
  const url = URL.parse(text)
  const fits =
    url !== null &&
    /^https?:$/.test(url.protocol) &&
    url.username === '' &&
    url.password === '' &&
    url.search === '' &&
    url.hash === ''
  if (fits) return url.href.replace(/\/+$/, '')
  throw usageFailure(
    `${source} must be the http or https address of the house, without user, query and fragment.`,
    'Such as http://127.0.0.1:8000.',
  )
}

/** `localhost` and `127.0.0.1` are one machine; beyond that, addresses must be the same. */
function sameHouse(left: string, right: string): boolean {
  return normalized(left) === normalized(right)
}

function normalized(text: string): string | undefined {
  const url = URL.parse(text)
  if (url === null) return undefined
  const host = /^(localhost|127\.0\.0\.1|\[::1\]|0\.0\.0\.0|\[::\])$/.test(url.hostname)
    ? 'this machine'
    : url.hostname
  return `${url.protocol}//${host}:${url.port || (url.protocol === 'https:' ? '443' : '80')}`
}
