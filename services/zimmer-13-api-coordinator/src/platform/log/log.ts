/** Structured logs. error: a person must act; warn: it mends itself, worth knowing; info: once per start or change. */
import { pino, type Logger } from 'pino'

export type Log = Logger
export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent'

export function createLog(options: { level: LogLevel; destination?: NodeJS.WritableStream }): Log {
  return pino(
    {
      level: options.level,
      base: { name: 'zimmer-13' },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    options.destination ?? pino.destination({ fd: 1, sync: false }),
  )
}
