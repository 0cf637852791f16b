/**
 * Where log lines go: a stream that may be full, or closed at its other end. That ends no house:
 * lines that cannot be written are dropped and counted, and the log says so once it works again.
 */

/** What is needed of a stream. */
interface Stream {
  on(event: 'error', listener: () => void): unknown
  write(text: string, done: (error?: Error | null) => void): unknown
}

export interface LogDestination {
  write(text: string): void
  /** Lines that could not be written, since the start. */
  readonly lost: number
  /** Tells of each gap when it has ended, with the number of lines that are missing. */
  onMended: (lost: number) => void
}

export function createLogDestination(stream: Stream): LogDestination {
  let lost = 0
  let gap = 0
  // Told to each write as well; heard by nobody it would end the process.
  stream.on('error', () => {})
  const destination: LogDestination = {
    write(text) {
      stream.write(text, (error) => {
        if (error) {
          const lines = text.split('\n').length - 1
          lost += lines
          gap += lines
        } else if (gap > 0) {
          const missing = gap
          gap = 0
          destination.onMended(missing)
        }
      })
    },
    get lost() {
      return lost
    },
    onMended: () => {},
  }
  return destination
}
