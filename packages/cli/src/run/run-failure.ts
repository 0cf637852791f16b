/**
 * What keeps `haus run` from running a program. Its codes are those of `env`, `nohup` and `docker
 * run`, away from those that programs use themselves.
 */
import { Failure } from '../failure.ts'

export const runExitCodes = { failed: 125, notExecutable: 126, notFound: 127 } as const

export class RunFailure extends Failure {
  readonly #exitCode: number

  constructor(sentence: string, hint?: string, exitCode: number = runExitCodes.failed) {
    super('internal', sentence, { ...(hint !== undefined && { hint }), code: 'run_failed' })
    this.#exitCode = exitCode
  }

  override get exitCode(): number {
    return this.#exitCode
  }
}
