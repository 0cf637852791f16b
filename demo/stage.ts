/**
 * Runs the steps of a story one after the other and tells of each how long it took. A step that
 * fails ends the story: what comes after would only show the same failure in other words.
 */
import { styleText } from 'node:util'

export interface Told {
  readonly title: string
  readonly ms: number
  readonly notes: readonly string[]
  readonly failure: string | null
}

export interface Stage {
  /** @throws StepFailed when `act` throws. */
  step<T>(title: string, act: (note: (text: string) => void) => Promise<T>): Promise<T>
  readonly told: readonly Told[]
}

export class StepFailed extends Error {
  override readonly name = 'StepFailed'
}

const titleWidth = 78

export function createStage(
  stream: NodeJS.WritableStream & { isTTY?: boolean },
  silent: boolean,
): Stage {
  const told: Told[] = []
  const say = (line: string): void => void (silent || stream.write(`${line}\n`))
  const paint = (format: Parameters<typeof styleText>[0], text: string): string =>
    stream.isTTY === true ? styleText(format, text, { validateStream: false }) : text

  return {
    told,
    async step(title, act) {
      const startedMs = performance.now()
      const notes: string[] = []
      const number = String(told.length + 1).padStart(2)
      const close = (mark: string, failure: string | null): void => {
        const ms = performance.now() - startedMs
        told.push({ title, ms, notes, failure })
        const time = `${(ms / 1_000).toFixed(2)} s`
        say(`${mark} ${number}  ${title.padEnd(titleWidth)} ${time.padStart(8)}`)
        for (const note of notes) say(paint('dim', `        ${note}`))
      }
      try {
        const value = await act((text) => notes.push(text))
        close(paint('green', '✔'), null)
        return value
      } catch (error) {
        const failure = error instanceof Error ? error.message : String(error)
        close(paint('red', '✖'), failure)
        say(paint('red', `        ${failure}`))
        throw new StepFailed(failure, { cause: error })
      }
    },
  }
}

/** A promise of the story: what was expected, and what was seen instead. */
export function expect(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new Error(otherwise)
}

const lookAgainAfterMs = 10

/** Looks until there is something to see. @returns it, and how long it took. */
export async function within<T>(
  deadlineMs: number,
  what: string | (() => string),
  look: () => T | undefined | Promise<T | undefined>,
): Promise<{ readonly seen: T; readonly afterMs: number }> {
  const startedMs = performance.now()
  for (;;) {
    const seen = await look()
    const afterMs = performance.now() - startedMs
    if (seen !== undefined && afterMs <= deadlineMs) return { seen, afterMs }
    if (afterMs > deadlineMs) {
      const wanted = typeof what === 'string' ? what : what()
      throw new Error(`not within ${deadlineMs} ms: ${wanted}`)
    }
    await new Promise((resolve) => setTimeout(resolve, lookAgainAfterMs))
  }
}
