/** Structured logs. error: a person must act; warn: it mends itself, worth knowing; info: once per start or change. */
import { Writable } from 'node:stream'
import { pino, type Logger } from 'pino'

export type Log = Logger
export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'silent'

interface Writer {
  write(text: string): unknown
}

export interface LogOptions {
  readonly level: LogLevel
  /** `json` for programs (the default), `lines` for a person at a terminal. */
  readonly format?: 'json' | 'lines'
  /** Standard output by default. */
  readonly destination?: Writer
}

export function createLog(options: LogOptions): Log {
  const { level, format = 'json', destination = pino.destination(1) } = options
  return pino(
    {
      level,
      base: { name: 'zimmer-13' },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    format === 'json' ? destination : linesTo(destination),
  )
}

/**
 * Records that another thread has made, each a line of JSON with its line end. They have been
 * chosen by level there.
 */
export function writeLines(log: Log, lines: string): void {
  const stream: unknown = Reflect.get(log, pino.symbols.streamSym)
  if (isWriter(stream)) stream.write(lines)
}

function isWriter(value: unknown): value is Writer {
  return typeof value === 'object' && value !== null && 'write' in value
}

/** One readable line per record; a stack follows an error, since a person will want it. */
function linesTo(destination: Writer): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString('utf8').split('\n')) {
        if (line !== '') destination.write(lineOf(JSON.parse(line)))
      }
      done()
    },
  })
}

function lineOf(record: Record<string, unknown>): string {
  const { time, level, msg, err, name: _name, ...fields } = record
  const clockTime = String(time).slice(11, 19)
  const rest = Object.entries(fields).map(([key, value]) => ` ${key}=${JSON.stringify(value)}`)
  const stack = isError(err) ? `\n  ${err.stack.replaceAll('\n', '\n  ')}` : ''
  return `${clockTime} ${String(level).padEnd(5)} ${String(msg)}${rest.join('')}${stack}\n`
}

function isError(value: unknown): value is { stack: string } {
  return (
    typeof value === 'object' &&
    value !== null &&
    'stack' in value &&
    typeof value.stack === 'string'
  )
}
