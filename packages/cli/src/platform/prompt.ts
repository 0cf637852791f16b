/** One line from the person at the terminal; a secret one is not shown while it is typed. */
import { StringDecoder } from 'node:string_decoder'
import { Failure } from '../failure.ts'
import type { Surroundings } from '../surroundings.ts'

const limitChars = 64 * 1024

/** What Ctrl-C gives in the shell. */
const interrupted = 130

export class Interrupted extends Failure {
  override get exitCode(): number {
    return interrupted
  }
}

/**
 * In raw mode the terminal does nothing by itself: the keys that end or mend a line are done here.
 * @throws Interrupted at Ctrl-C, Failure when the input ends first
 */
export function askLine(
  { stdin, stderr }: Pick<Surroundings, 'stdin' | 'stderr'>,
  question: string,
  echo: 'shown' | 'hidden',
): Promise<string> {
  stderr.write(question)
  stdin.setRawMode?.(true)
  const decoder = new StringDecoder('utf8')
  let line = ''
  return new Promise((resolve, reject) => {
    const finish = (end: () => void, rest: string): void => {
      stdin.off('data', onData)
      stdin.off('end', onEnd)
      stdin.setRawMode?.(false)
      stdin.pause()
      // A paste can hold the answers to the next questions too.
      if (rest !== '') stdin.unshift(Buffer.from(rest))
      stderr.write('\n')
      end()
    }
    const onEnd = (): void =>
      finish(() => reject(new Failure('no', 'The input ended before an answer came.')), '')
    const onData = (chunk: Buffer): void => {
      const text = decoder.write(chunk)
      let at = 0
      for (const key of text) {
        at += key.length
        const rest = (): string => text.slice(at)
        if (key === '\r' || key === '\n') {
          const answer = line
          finish(() => resolve(answer), rest().replace(/^\n/, ''))
          return
        }
        if (key === '\u0003' || (key === '\u0004' && line === '')) {
          finish(() => reject(new Interrupted('no', 'Interrupted; nothing was done.')), '')
          return
        }
        if (key === '\u007f' || key === '\b') {
          if (line !== '' && echo === 'shown') stderr.write('\b \b')
          line = Array.from(line).slice(0, -1).join('')
        } else if (key === '\u0015') {
          if (echo === 'shown') stderr.write('\b \b'.repeat(Array.from(line).length))
          line = ''
        } else if (key >= ' ' && line.length < limitChars) {
          line += key
          if (echo === 'shown') stderr.write(key)
        }
      }
    }
    stdin.on('data', onData)
    stdin.on('end', onEnd)
    stdin.resume()
  })
}
