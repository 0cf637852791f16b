/**
 * Files that only their owner may read, whole under their name or not there at all.
 *
 * The temporary file is made before the secret exists, so that a folder that cannot be written to is
 * known before a key is made that nobody could keep.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { systemCodeOf } from '../failure.ts'

export interface PendingFile {
  /** Writes it durably and gives it its name. @returns false when the name is taken. */
  place(text: string, options: { readonly replace: boolean }): Promise<boolean>
  /** Leaves nothing behind; harmless after `place`. */
  discard(): Promise<void>
}

export async function preparePrivateFile(file: string): Promise<PendingFile> {
  const folder = path.dirname(file)
  const name = `.${path.basename(file)}.${randomBytes(8).toString('hex')}.tmp`
  const temporary = path.join(folder, name)
  const handle = await fs.open(temporary, 'wx', 0o600)
  let open = true
  const close = async (): Promise<void> => {
    if (open) await handle.close()
    open = false
  }
  return {
    async place(text, { replace }) {
      await handle.writeFile(text)
      await handle.sync()
      await close()
      const placed = replace
        ? await fs.rename(temporary, file).then(() => true)
        : await linkNew(temporary, file)
      await fs.rm(temporary, { force: true })
      await syncFolder(folder)
      return placed
    },
    async discard() {
      await close()
      await fs.rm(temporary, { force: true })
    },
  }
}

/** The one call that is atomic and refuses to replace. */
async function linkNew(temporary: string, file: string): Promise<boolean> {
  try {
    await fs.link(temporary, file)
    return true
  } catch (error) {
    const code = systemCodeOf(error) ?? ''
    if (code === 'EEXIST') return false
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(code)) throw error
  }
  // A file system without hard links: the check and the rename are two steps there.
  if (await exists(file)) return false
  await fs.rename(temporary, file)
  return true
}

/** Also finds a symbolic link to nothing. */
export async function exists(file: string): Promise<boolean> {
  return fs.lstat(file).then(
    () => true,
    (error: unknown) => {
      if (systemCodeOf(error) === 'ENOENT') return false
      throw error
    },
  )
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await fs.open(folder, 'r')
  try {
    await handle.sync()
  } catch {
    // Some network file systems do not sync folders, and have no entry to lose either.
  } finally {
    await handle.close()
  }
}
