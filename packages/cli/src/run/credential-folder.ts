/**
 * Credentials as files, for programs that know nothing of Haus.
 *
 *   <folder>/orders-database/username          the value, to its last byte
 *   <folder>/orders-database/password
 *   <folder>/orders-database/.credential.json  all of it, with name, version and expiresAt
 *
 * Each credential is a link to the folder of its version, and a new version replaces the link: what a
 * program sees through one open folder always belongs together. The version before stays until the
 * next one comes, for whoever is reading it at that moment.
 *
 * The folder is 0700, its files 0600, in memory where the system has such a place. It goes with us;
 * what a killed run left behind goes with the next one.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { systemCodeOf } from '../failure.ts'

export interface FileCredential {
  readonly name: string
  readonly version: number
  readonly expiresAt: string | null
  readonly data: Readonly<Record<string, string>>
}

export interface CredentialFolder {
  readonly path: string
  /** Whether its files never reach a disk. */
  readonly inMemory: boolean
  write(credential: FileCredential): Promise<void>
  /** It is no longer granted. */
  remove(name: string): Promise<void>
  removeAll(): Promise<void>
}

export interface FolderOwner {
  readonly pid: number
  /** Whether a process of that id runs. */
  readonly isAlive: (pid: number) => boolean
}

/** The magic number of tmpfs, statfs(2). */
const tmpfs = 0x01021994

/** In the order of preference: private to the user and in memory, in memory, anywhere. */
export async function placeForSecrets(
  candidates: readonly (string | undefined)[],
): Promise<{ readonly folder: string; readonly inMemory: boolean }> {
  let onDisk: string | undefined
  for (const folder of candidates) {
    if (folder === undefined || folder === '') continue
    if (!(await isWritableFolder(folder))) continue
    const { type } = await fs.statfs(folder)
    if (type === tmpfs) return { folder, inMemory: true }
    onDisk ??= folder
  }
  if (onDisk === undefined) throw new Error('there is no folder for temporary files')
  return { folder: onDisk, inMemory: false }
}

async function isWritableFolder(folder: string): Promise<boolean> {
  try {
    await fs.access(folder, fs.constants.W_OK | fs.constants.X_OK)
    return (await fs.stat(folder)).isDirectory()
  } catch {
    return false
  }
}

export async function createCredentialFolder(
  candidates: readonly (string | undefined)[],
  owner: FolderOwner,
): Promise<CredentialFolder> {
  const { folder: parent, inMemory } = await placeForSecrets(candidates)
  const space = await processSpace()
  await removeLeftovers(parent, space, owner)
  // Made 0700 by mkdtemp, under a name that nobody can have taken before.
  const folder = await fs.mkdtemp(path.join(parent, `haus-run-${space}-${owner.pid}-`))
  const versions = path.join(folder, '.versions')
  await fs.mkdir(versions, { mode: 0o700 })
  /** Of each credential the folders that are there, oldest first. */
  const kept = new Map<string, string[]>()

  async function write({ name, version, expiresAt, data }: FileCredential): Promise<void> {
    const unique = randomBytes(4).toString('hex')
    const target = `${name}-${version}-${unique}`
    const home = path.join(versions, target)
    try {
      await fs.mkdir(home, { mode: 0o700 })
      for (const [key, value] of Object.entries(data))
        await writePrivate(path.join(home, key), value)
      const whole = JSON.stringify({ name, version, expiresAt, data })
      await writePrivate(path.join(home, '.credential.json'), `${whole}\n`)
      const link = path.join(versions, `.link-${unique}`)
      await fs.symlink(path.join('.versions', target), link)
      await fs.rename(link, path.join(folder, name))
    } catch (error) {
      await fs.rm(home, { recursive: true, force: true })
      throw error
    }
    const [before, ...older] = (kept.get(name) ?? []).toReversed()
    for (const gone of older)
      await fs.rm(path.join(versions, gone), { recursive: true, force: true })
    kept.set(name, before === undefined ? [target] : [before, target])
  }

  async function remove(name: string): Promise<void> {
    await fs.rm(path.join(folder, name), { force: true })
    for (const gone of kept.get(name) ?? []) {
      await fs.rm(path.join(versions, gone), { recursive: true, force: true })
    }
    kept.delete(name)
  }

  return {
    path: folder,
    inMemory,
    write,
    remove,
    removeAll: () => fs.rm(folder, { recursive: true, force: true }),
  }
}

async function writePrivate(file: string, text: string): Promise<void> {
  await fs.writeFile(file, text, { flag: 'wx', mode: 0o600 })
}

/**
 * Process ids mean something within one space of them only: a container that shares the folder has
 * its own, and its folders are not ours to judge.
 */
async function processSpace(): Promise<string> {
  const link = await fs.readlink('/proc/self/ns/pid').catch(() => '')
  return /\d+/.exec(link)?.[0] ?? '0'
}

async function removeLeftovers(
  parent: string,
  space: string,
  { isAlive }: FolderOwner,
): Promise<void> {
  const form = new RegExp(`^haus-run-${space}-(\\d+)-\\w+$`)
  for (const name of await fs.readdir(parent)) {
    const pid = form.exec(name)?.[1]
    if (pid === undefined || isAlive(Number(pid))) continue
    await fs
      .rm(path.join(parent, name), { recursive: true, force: true })
      .catch((error: unknown) => {
        // Another user's, which is his to remove.
        if (!['EACCES', 'EPERM'].includes(systemCodeOf(error) ?? '')) throw error
      })
  }
}
