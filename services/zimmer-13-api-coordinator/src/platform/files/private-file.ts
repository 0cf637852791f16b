/**
 * Small files that only their owner may read: keys and tokens.
 *
 * A file appears under its name whole and durable or not at all, so that `kill -9` or a power cut
 * between two steps leaves no empty key behind. Nothing here overwrites a file by accident:
 * creating and replacing are two functions.
 */
import { constants } from 'node:fs'
import fs from 'node:fs/promises'
import path from 'node:path'
import { geteuid } from 'node:process'
import { HausError } from '@haus/contract'
import type { Random } from '../crypto/index.ts'
import { codeOf } from '../errors/thrown.ts'

/** A key is 65 bytes; whatever is larger is another file, named by mistake. */
const sizeMaxBytes = 4_096
const ownerOnly = 0o600

export interface PrivateFile {
  readonly text: string
  /** Permission bits. */
  readonly mode: number
  /** Owned by the user this process runs as. */
  readonly own: boolean
}

/** Follows symbolic links, because Kubernetes mounts every secret through two of them. */
export async function readPrivateFile(file: string): Promise<PrivateFile | undefined> {
  // Non-blocking, or a FIFO under that name would hold the start for ever.
  const handle = await fs
    .open(file, constants.O_RDONLY | constants.O_NONBLOCK)
    .catch((error: unknown) => {
      if (codeOf(error) === 'ENOENT') return undefined
      throw error
    })
  if (handle === undefined) return undefined
  try {
    const stat = await handle.stat()
    if (!stat.isFile()) throw new NotAFile(file)
    const buffer = Buffer.alloc(sizeMaxBytes)
    const { bytesRead } = await handle.read(buffer, 0, sizeMaxBytes, 0)
    return {
      text: buffer.toString('latin1', 0, bytesRead),
      mode: stat.mode & 0o777,
      own: stat.uid === geteuid?.(),
    }
  } finally {
    await handle.close()
  }
}

class NotAFile extends Error {
  constructor(file: string) {
    super(`${file} is not a regular file`)
  }
}

/** @returns false if the name is taken; then nothing has changed. */
export async function createPrivateFile(
  file: string,
  text: string,
  random: Random,
): Promise<boolean> {
  return settle(file, text, random, async (temporary) => {
    try {
      // The one call that is atomic and refuses to replace; rename would replace.
      await fs.link(temporary, file)
      return true
    } catch (error) {
      const code = codeOf(error)
      if (code === 'EEXIST') return false
      if (!withoutHardLinks.has(code ?? '')) throw error
    }
    // A file system without hard links: the check and the rename are two steps there.
    if (await exists(file)) return false
    await fs.rename(temporary, file)
    return true
  })
}

export async function replacePrivateFile(
  file: string,
  text: string,
  random: Random,
): Promise<void> {
  await settle(file, text, random, async (temporary) => {
    await fs.rename(temporary, file)
    return true
  })
}

export async function renamePrivateFile(from: string, to: string): Promise<void> {
  await fs.rename(from, to)
  await syncFolder(path.dirname(to))
}

/** Also finds a symbolic link to nothing. */
export async function exists(file: string): Promise<boolean> {
  const stat = await fs.lstat(file).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  })
  return stat !== undefined
}

async function settle(
  file: string,
  text: string,
  random: Random,
  place: (temporary: string) => Promise<boolean>,
): Promise<boolean> {
  const folder = path.dirname(file)
  const temporary = path.join(folder, temporaryName(file, random))
  try {
    await writeDurably(temporary, text)
    const placed = await place(temporary)
    await fs.rm(temporary, { force: true })
    await syncFolder(folder)
    return placed
  } catch (error) {
    await fs.rm(temporary, { force: true })
    throw fileTrouble(file, error)
  }
}

async function writeDurably(file: string, text: string): Promise<void> {
  const handle = await fs.open(file, 'wx', ownerOnly)
  try {
    // The umask can only have taken rights away; the owner's own must be there.
    await handle.chmod(ownerOnly)
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await fs.open(folder, 'r')
  try {
    await handle.sync()
  } catch (error) {
    if (!withoutFolderSync.has(codeOf(error) ?? '')) throw error
  } finally {
    await handle.close()
  }
}

/** How file systems say that they have none. */
const withoutHardLinks = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'])
/** Some network file systems do not sync folders, and have no entry to lose either. */
const withoutFolderSync = new Set(['EINVAL', 'ENOTSUP', 'EOPNOTSUPP'])

const temporarySuffix = /^\.[0-9a-f]{16}\.tmp$/

function temporaryName(file: string, random: Random): string {
  return `.${path.basename(file)}.${random.bytes(8).toString('hex')}.tmp`
}

/**
 * What a crash left beside the file. Such a file can be a second name of the real one, so it must
 * go; call it only while the real one is there, when no creation can still need it.
 */
export async function removeLeftovers(file: string): Promise<void> {
  const folder = path.dirname(file)
  const prefix = `.${path.basename(file)}`
  for (const name of await fs.readdir(folder)) {
    if (!name.startsWith(prefix) || !temporarySuffix.test(name.slice(prefix.length))) continue
    await fs.rm(path.join(folder, name), { force: true })
  }
}

/** One sentence for what keeps a file from being written. */
export function fileTrouble(file: string, error: unknown): HausError {
  if (error instanceof HausError) return error
  const code = codeOf(error)
  const folder = path.dirname(file)
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new HausError(
      'disk_full',
      `the disk that holds ${folder} is full, ${path.basename(file)} cannot be written: free some space and start Haus again`,
      { cause: error },
    )
  }
  const reason =
    code === 'EACCES' || code === 'EPERM'
      ? 'this user may not write there'
      : code === 'EROFS'
        ? 'the file system is read-only'
        : code === 'ENOENT' || code === 'ENOTDIR'
          ? 'the folder does not exist'
          : `writing failed with ${code ?? 'an unknown error'}`
  return new HausError(
    'data_dir_unusable',
    `${file} cannot be written: ${reason}; mend that folder or configure another`,
    { cause: error },
  )
}
