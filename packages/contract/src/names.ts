/**
 * Names, their forms and their limits: one place, used by schemas, features and the CLI.
 *
 * `x-form` says a pattern in words, and `x-keys` the pattern of the keys of a record: a refusal
 * shows them instead of a regular expression.
 */
import { Type } from 'typebox'

export const reservedServiceNames: ReadonlySet<string> = new Set([
  'api',
  'create',
  'gateway',
  'health',
  'metrics',
  'register',
  'service',
])

/** Lower-case DNS label, RFC 1123 section 2.1: it becomes a host name in the gateway and in DNS. */
export const serviceNamePattern = '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'
export const credentialNamePattern = '^[a-z0-9][a-z0-9._-]{0,127}$'

export const ServiceName = Type.String({
  pattern: serviceNamePattern,
  // They are parts of routes beside service names: such a service could not be asked for.
  not: { enum: [...reservedServiceNames] },
  'x-form':
    'lower-case letters, digits and hyphens, at most 63, with a letter or digit at both ends',
  maxLength: 63,
  description: 'A lower-case DNS label, or one of the aliases of the service.',
})
export const credentialNameForm =
  'lower-case letters, digits, dots, underscores and hyphens, at most 128, beginning with a letter or digit'
export const CredentialName = Type.String({
  pattern: credentialNamePattern,
  'x-form': credentialNameForm,
  maxLength: 128,
  description: 'Lower-case letters, digits, dot, underscore and hyphen.',
})
export const Uuid = Type.String({
  pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$',
  'x-form': 'a UUID in lower case',
  maxLength: 36,
  description: 'A UUID in lower case; those that Haus makes are version 7.',
})
export const Timestamp = Type.String({
  pattern: '^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}(\\.\\d{1,9})?Z$',
  'x-form': 'a time in UTC such as `2026-11-23T12:00:00Z`',
  maxLength: 35,
  description: 'RFC 3339 in UTC.',
})
