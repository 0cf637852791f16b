/** The typed client, for programs that are not a service: the CLI, scripts, tests. */
export {
  createClient,
  serviceTokens,
  type AnswerOf,
  type CallOptions,
  type ClientOptions,
  type HausClient,
  type ItemOf,
  type ListId,
  type RequestOf,
} from './client.ts'
export {
  HausApiError,
  HausUnreachableError,
  isTransient,
  type ApiErrorCode,
  type UnreachableReason,
} from './errors.ts'
export type { EventsOptions, FeedMessage, HausEvent } from './event-feed.ts'
export type { OperationId } from './operations.ts'
export { staticToken, tokenFile, type ClientKey, type TokenSource } from './tokens.ts'
export { readSecretFile, SecretFileError } from '../platform/secret-file.ts'
export { Secret } from '../platform/secret.ts'
