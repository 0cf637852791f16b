/** What a service hears of its house. Messages and fields hold names and numbers, never a value. */
export type LogLevel = 'info' | 'warn'
export type LogFields = Readonly<Record<string, string | number | boolean | null>>
export type Log = (level: LogLevel, message: string, fields?: LogFields) => void

/** What may be told of an error that came from somebody else's code: its text may quote a secret. */
export function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error
  const code: unknown = 'code' in error ? error.code : undefined
  return typeof code === 'string' ? `${error.name} ${code}` : error.name
}
