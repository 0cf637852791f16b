/**
 * How the program says no: one sentence on what failed, one on what to do next, and an exit code
 * that a script can tell apart. Codes are a promise like those of the API: they keep their meaning.
 */

export const exitCodes = {
  ok: 0,
  /** The answer is no: something is not healthy, nothing can serve. */
  no: 1,
  usage: 2,
  unreachable: 3,
  notAllowed: 4,
  notFound: 5,
  conflict: 6,
  /** The house is there and cannot do it now: the same again, later. */
  unavailable: 7,
  /** A mistake of the program or of the house (EX_SOFTWARE). */
  internal: 70,
} as const

export type ExitName = keyof typeof exitCodes

/** For help and reference, in the order of the table. */
export const exitMeanings: readonly (readonly [number, string])[] = [
  [exitCodes.ok, 'done; the answer is yes'],
  [
    exitCodes.no,
    'the answer is no: something is not healthy, nothing can serve, or a person said no',
  ],
  [exitCodes.usage, 'the command line or a value does not fit'],
  [exitCodes.unreachable, 'the house cannot be reached'],
  [exitCodes.notAllowed, 'the token is missing, not valid or may not do this'],
  [exitCodes.notFound, 'there is no such service, instance, credential, key, route or file'],
  [exitCodes.conflict, 'it is taken, somebody else was faster, or a limit is reached'],
  [exitCodes.unavailable, 'the house cannot do it now: try again'],
  [exitCodes.internal, 'a mistake of the program or of the house'],
]

export interface FailureOptions {
  /** What to do next. */
  readonly hint?: string
  /** The error code of the house, or one of the program's own. */
  readonly code?: string
  /** For scripts that ask for JSON. */
  readonly fields?: readonly { readonly field: string; readonly detail: string }[]
  readonly cause?: unknown
}

export class Failure extends Error {
  override readonly name = 'Failure'
  readonly exit: ExitName
  readonly hint: string | undefined
  readonly code: string
  readonly fields: readonly { readonly field: string; readonly detail: string }[]

  constructor(exit: ExitName, sentence: string, options: FailureOptions = {}) {
    super(sentence, options.cause === undefined ? undefined : { cause: options.cause })
    this.exit = exit
    this.hint = options.hint
    this.code = options.code ?? exit
    this.fields = options.fields ?? []
  }

  get exitCode(): number {
    return exitCodes[this.exit]
  }
}

export function usageFailure(sentence: string, hint?: string): Failure {
  return new Failure('usage', sentence, hint === undefined ? {} : { hint })
}

/** The code of a system error such as ENOENT; undefined for everything else. */
export function systemCodeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
    ? error.code
    : undefined
}

/** A file the person named cannot be used. */
export function fileFailure(what: string, file: string, error: unknown): Failure {
  const reasons: Record<string, string> = {
    ENOENT: 'it does not exist',
    ENOTDIR: 'it does not exist',
    EACCES: 'this user may not',
    EPERM: 'this user may not',
    EISDIR: 'it is a folder',
    EROFS: 'the file system is read-only',
    ENOSPC: 'the disk is full',
    EDQUOT: 'the disk is full',
  }
  const code = systemCodeOf(error)
  const reason = (code === undefined ? undefined : reasons[code]) ?? code ?? 'an unknown error'
  const missing = code === 'ENOENT' || code === 'ENOTDIR'
  return new Failure(missing ? 'notFound' : 'usage', `${file} cannot be ${what}: ${reason}.`, {
    code: 'file_unusable',
    cause: error,
  })
}
