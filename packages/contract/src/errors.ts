/**
 * Every way Haus says no, in one table.
 *
 * A code is a promise: its meaning never changes, and one is added only if a client would act
 * on it differently. `status` is null for what can only happen before a listener is open;
 * `exitCode` is what the process ends with then (sysexits.h where it has a fitting number).
 */

interface ErrorKind {
  readonly status: number | null
  readonly exitCode?: number
  readonly title: string
}

export const errorKinds = {
  // The request as it came
  invalid_request: { status: 400, title: 'The request does not fit the contract' },
  invalid_json: { status: 400, title: 'The body is not valid JSON' },
  duplicate_key: { status: 400, title: 'A JSON object names the same key twice' },
  invalid_encoding: { status: 400, title: 'The text is not valid UTF-8' },
  invalid_path: { status: 400, title: 'The path is not in its plain form' },
  body_too_large: { status: 413, title: 'The body is larger than the limit' },
  headers_too_large: { status: 431, title: 'The headers are larger than the limit' },
  request_timeout: { status: 408, title: 'The request did not arrive in time' },
  unsupported_media_type: { status: 415, title: 'The content type is not one the operation takes' },
  route_not_found: { status: 404, title: 'There is no such route' },
  method_not_allowed: { status: 405, title: 'The route does not take this method' },
  foreign_host: { status: 421, title: 'The Host header does not name this house' },

  // Who is asking
  unauthenticated: { status: 401, title: 'A token is needed' },
  token_invalid: { status: 401, title: 'The token is not valid' },
  token_expired: { status: 401, title: 'The token has expired' },
  token_revoked: { status: 401, title: 'The token has been revoked' },
  token_wrong_audience: { status: 401, title: 'The token was made for another audience' },
  invalid_client: { status: 401, title: 'The client id or secret is wrong' },
  forbidden: { status: 403, title: 'The token does not carry this permission' },
  credential_not_granted: { status: 403, title: 'The credential is not granted to the service' },
  advertise_refused: { status: 403, title: 'The address may not be advertised' },
  caller_not_allowed: { status: 403, title: 'The service does not take calls from this caller' },
  rate_limited: { status: 429, title: 'Too many requests' },

  // What is asked for
  service_not_found: { status: 404, title: 'There is no such service' },
  instance_not_found: { status: 404, title: 'There is no such instance' },
  credential_not_found: { status: 404, title: 'There is no such credential' },
  key_not_found: { status: 404, title: 'There is no such key' },
  name_taken: { status: 409, title: 'The name is taken' },
  version_conflict: { status: 409, title: 'Somebody else was faster' },
  stale_incarnation: { status: 409, title: 'A newer start of this instance has registered' },
  limit_reached: { status: 409, title: 'A limit of the house is reached' },

  // The way to a service
  no_route: { status: 404, title: 'No route leads there' },
  gateway_route_not_found: { status: 404, title: 'There is no such published route' },
  route_taken: { status: 409, title: 'Another route publishes the same' },
  path_refused: { status: 400, title: 'The path can be read in more than one way' },
  upgrade_refused: { status: 501, title: 'The gateway does not change protocols' },
  service_unavailable: { status: 503, title: 'No instance of the service can take the request' },
  upstream_failed: { status: 502, title: 'The service broke off' },
  upstream_timeout: { status: 504, title: 'The service did not answer in time' },

  // The house itself
  integrity_failed: { status: 500, title: 'Stored data failed its integrity check' },
  internal_error: { status: 500, title: 'Haus made a mistake' },
  not_ready: { status: 503, title: 'The house is not ready' },
  shutting_down: { status: 503, title: 'The house is closing' },
  writes_unavailable: { status: 503, title: 'Nothing was written' },
  write_outcome_unknown: { status: 503, title: 'The write was not confirmed in time' },
  overloaded: { status: 503, title: 'The house is at its limit' },

  // Before the door opens
  config_invalid: { status: null, exitCode: 78, title: 'The configuration is not valid' },
  plaintext_refused: { status: null, exitCode: 78, title: 'A public listener needs TLS' },
  tls_invalid: { status: null, exitCode: 78, title: 'The TLS files cannot be used' },
  data_dir_unusable: { status: null, exitCode: 73, title: 'The data folder cannot be used' },
  data_dir_locked: { status: null, exitCode: 75, title: 'The data folder is in use' },
  address_in_use: { status: null, exitCode: 75, title: 'The address is in use' },
  address_unusable: { status: null, exitCode: 69, title: 'The address cannot be bound' },
  database_unreachable: { status: null, exitCode: 69, title: 'The database cannot be reached' },
  database_incompatible: { status: null, exitCode: 69, title: 'The database is too old' },
  database_forbidden: { status: null, exitCode: 77, title: 'The database role lacks a right' },
  migration_locked: { status: null, exitCode: 75, title: 'Another start migrates the database' },
  database_too_new: { status: null, exitCode: 69, title: 'The database is newer than this Haus' },
  database_corrupt: { status: null, exitCode: 70, title: 'The database is damaged' },
  disk_full: { status: null, exitCode: 74, title: 'The disk is full' },
  root_key_missing: { status: null, exitCode: 78, title: 'The root key is missing' },
  root_key_wrong: { status: null, exitCode: 78, title: 'The root key is not the right one' },
} as const satisfies Record<string, ErrorKind>

export type ErrorCode = keyof typeof errorKinds

/**
 * One thing wrong with one field. `field` is a JSON pointer into the body (`""` is the whole of it),
 * `query.x`, `path.x` or `header.x`; `query` or `path` alone when no part of it can be named.
 */
export interface FieldError {
  readonly field: string
  readonly detail: string
}

export interface HausErrorOptions {
  /** For the log only; never leaves the process. */
  readonly cause?: unknown
  readonly fields?: readonly FieldError[]
  readonly retryAfterSeconds?: number
}

/** A refusal with a code. `detail` is shown to the caller: one sentence that names the field and the mend. */
export class HausError extends Error {
  override readonly name = 'HausError'
  readonly code: ErrorCode
  readonly fields: readonly FieldError[]
  readonly retryAfterSeconds: number | undefined

  constructor(code: ErrorCode, detail: string, options: HausErrorOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.fields = options.fields ?? []
    this.retryAfterSeconds = options.retryAfterSeconds
  }

  /** Null when no listener can be open yet. */
  get status(): number | null {
    return errorKinds[this.code].status
  }

  get exitCode(): number {
    const kind: ErrorKind = errorKinds[this.code]
    return kind.exitCode ?? 70
  }
}
