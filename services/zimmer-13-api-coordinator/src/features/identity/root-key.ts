/**
 * The root key's file: reading it, judging it, making it.
 *
 * One line of 32 bytes, in base64url (as it is written here), base64 or hex (as `openssl rand`
 * prints it). Whether a key may be made is not decided here: that takes the database.
 */
import { access, constants } from 'node:fs/promises'
import { HausError } from '@haus/contract'
import { keySizeBytes, Secret, type Key, type Random } from '../../platform/crypto/index.ts'
import type { Log } from '../../platform/log/log.ts'
import {
  createPrivateFile,
  exists,
  fileTrouble,
  readPrivateFile,
  replacePrivateFile,
  type PrivateFile,
} from '../../platform/files/private-file.ts'
import { codeOf } from '../../platform/errors/thrown.ts'

/** What is found under the configured name. */
export type RootKeyFile = { readonly key: Key } | 'missing' | 'empty'

export async function readRootKey(file: string, log: Log): Promise<RootKeyFile> {
  let found: PrivateFile | undefined
  try {
    found = await readPrivateFile(file)
  } catch (error) {
    throw unreadable(file, error)
  }
  if (found === undefined) {
    if (await exists(file)) {
      throw new HausError(
        'root_key_missing',
        `the root key file ${file} is a symbolic link to nothing: mend the link or mount what it points to`,
      )
    }
    return 'missing'
  }
  await checkMode(file, found, log)
  if (found.text.trim() === '') return 'empty'
  return { key: new Secret(parseKey(file, found.text)) }
}

/** @returns the key that the file holds afterwards, which is another's if another was faster. */
export async function makeRootKey(
  file: string,
  instead: 'missing' | 'empty',
  random: Random,
  log: Log,
): Promise<Key> {
  const bytes = random.bytes(keySizeBytes)
  const text = `${bytes.toString('base64url')}\n`
  bytes.fill(0)
  // An empty file holds no key, so nothing is lost with it: a placeholder must not brick a house.
  if (instead === 'empty') await replacePrivateFile(file, text, random)
  else await createPrivateFile(file, text, random)
  // Read back, so that what the house is built on is what the disk has.
  const made = await readRootKey(file, log)
  if (typeof made === 'string') throw fileTrouble(file, new Error('it is gone'))
  return made.key
}

const forms: readonly { readonly form: RegExp; readonly encoding: 'base64url' | 'hex' }[] = [
  { form: /^[0-9a-f]{64}$/i, encoding: 'hex' },
  // Node decodes both base64 alphabets under this name.
  { form: /^[A-Za-z0-9+/_-]{43}=?$/, encoding: 'base64url' },
]

function parseKey(file: string, text: string): Buffer {
  const line = text.replace(/\r?\n$/, '')
  const known = forms.find(({ form }) => form.test(line))
  if (known === undefined) {
    throw new HausError(
      'root_key_wrong',
      `the root key file ${file} does not hold 32 bytes as one line of base64url or hex: put the right file back from your backup, or remove it if it never opened a house`,
    )
  }
  return Buffer.from(line, known.encoding)
}

/**
 * The rule of ssh: a key that is ours must be ours alone. Where another user owns the file, he
 * decides who reads it, and only he can mend it: that is how Kubernetes (root, 0644 or 0440) and
 * Docker (root, 0444) hand a secret to a container that does not run as root. Where the file
 * system is read-only nobody can mend it: that is the same mount seen by a container that does.
 */
async function checkMode(file: string, found: PrivateFile, log: Log): Promise<void> {
  if ((found.mode & 0o077) === 0) return
  if (found.own && !(await isReadOnly(file))) {
    throw new HausError(
      'root_key_wrong',
      `the root key file ${file} can be read or changed by other users (mode ${modeText(found)}): run chmod 600 on it, and make new credentials if somebody may have read it`,
    )
  }
  if (!found.own && (found.mode & 0o004) !== 0) {
    log.warn(
      { file, mode: modeText(found) },
      'the root key file can be read by every user of this system; that is fine only inside a container',
    )
  }
}

async function isReadOnly(file: string): Promise<boolean> {
  try {
    await access(file, constants.W_OK)
    return false
  } catch (error) {
    return codeOf(error) === 'EROFS'
  }
}

function modeText({ mode }: PrivateFile): string {
  return mode.toString(8).padStart(4, '0')
}

function unreadable(file: string, error: unknown): HausError {
  const code = codeOf(error)
  const reason =
    code === 'EACCES' || code === 'EPERM'
      ? 'this user may not read it'
      : code === 'ENOTDIR'
        ? 'a part of its path is not a folder'
        : code === 'ELOOP'
          ? 'its symbolic links go in a circle'
          : code === 'EISDIR' || code === 'ENXIO' || code === undefined
            ? 'it is not a regular file'
            : `reading it failed with ${code}`
  return new HausError('root_key_missing', `the root key file ${file} cannot be read: ${reason}`, {
    cause: error,
  })
}
