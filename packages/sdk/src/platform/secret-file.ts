/**
 * Reads the small files that hold a secret: secret zero of a service, a token.
 *
 * A file that others can read is refused: a secret that everybody on the machine knows protects
 * nothing, and nobody notices until it has been used. What is in the file never gets into an error.
 */
import { open } from 'node:fs/promises'
import { platform } from 'node:os'
import { Secret } from './secret.ts'

/** Secrets have 43 characters, tokens some 500. */
const limitBytes = 16 * 1024

export class SecretFileError extends Error {
  override readonly name = 'SecretFileError'
}

/** `what` names the file for people, such as `HAUS_CLIENT_SECRET_FILE`. @throws SecretFileError */
export async function readSecretFile(file: string, what: string): Promise<Secret> {
  const text = await readPrivate(file, what)
  // As an editor leaves it, with a line break at the end.
  const value = text.trim()
  if (value === '') throw new SecretFileError(`${what}: ${file} is empty.`)
  // A line break inside would end up in a header, and the complaint about it would quote it.
  if (!/^[\x21-\x7e]+$/.test(value)) {
    throw new SecretFileError(
      `${what}: ${file} must hold one line of printable ASCII without spaces.`,
    )
  }
  return new Secret(value)
}

async function readPrivate(file: string, what: string): Promise<string> {
  const handle = await open(file, 'r').catch((error: unknown) => {
    throw new SecretFileError(`${what}: ${file} cannot be read (${codeOf(error)}).`)
  })
  try {
    // Of what is open, so that nobody can put another file into its place in between.
    const stat = await handle.stat()
    if (!stat.isFile()) throw new SecretFileError(`${what}: ${file} is not a file.`)
    // Windows keeps such rights elsewhere and shows every file as readable by all.
    if (platform() !== 'win32' && (stat.mode & 0o077) !== 0) {
      const mode = (stat.mode & 0o777).toString(8).padStart(4, '0')
      throw new SecretFileError(
        `${what}: ${file} can be read by others (mode ${mode}): make it its owner's alone with chmod 600, and if others may have read it, ask for a new secret.`,
      )
    }
    if (stat.size > limitBytes) {
      throw new SecretFileError(`${what}: ${file} is larger than ${limitBytes} bytes.`)
    }
    return await handle.readFile('utf8')
  } finally {
    await handle.close()
  }
}

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
}
