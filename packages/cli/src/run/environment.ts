/**
 * Credentials as environment variables, for programs that cannot read files. Only on request: an
 * environment is handed on to every program that the program starts, it shows in crash reports, and
 * it cannot change while the program runs.
 */
import { usageFailure } from '../failure.ts'
import type { FileCredential } from './credential-folder.ts'

/** `password` of `orders-database` is `ORDERS_DATABASE_PASSWORD`. */
export function variableName(credential: string, key: string): string {
  return `${credential}_${key}`.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_')
}

/** @throws Failure usage when two values would have one name, or a program cannot be given one */
export function credentialVariables(
  credentials: readonly FileCredential[],
): Record<string, string> {
  const variables: Record<string, string> = {}
  const origins = new Map<string, string>()
  for (const { name, data } of credentials) {
    for (const [key, value] of Object.entries(data)) {
      const variable = variableName(name, key)
      const origin = `${key} of ${name}`
      const other = origins.get(variable)
      if (other !== undefined) {
        throw usageFailure(
          `${origin} and ${other} would both be ${variable}.`,
          'Name fewer with --credentials, or read the files instead of using --env.',
        )
      }
      if (value.includes('\0')) {
        throw usageFailure(
          `${origin} has a zero byte, which no variable can hold.`,
          'Read the file.',
        )
      }
      origins.set(variable, origin)
      variables[variable] = value
    }
  }
  return variables
}
