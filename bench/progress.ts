/** What is happening now: one line that is written over on a terminal, a line each elsewhere. */
export interface Progress {
  (text: string): void
  clear(): void
}

export function createProgress(stream: NodeJS.WriteStream, silent: boolean): Progress {
  const onTerminal = stream.isTTY
  const say = (text: string): void => {
    if (silent) return
    stream.write(onTerminal ? `\r\u001B[K  ${text}` : `  ${text}\n`)
  }
  return Object.assign(say, {
    clear: () => {
      if (onTerminal && !silent) stream.write('\r\u001B[K')
    },
  })
}
