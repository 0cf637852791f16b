/**
 * Where a new house's database folder comes from: a prepared archive instead of `initdb`, which
 * would take 640 MB of memory and seconds of the first start.
 *
 * The archive is unpacked beside its place, synced file by file, and renamed: a crash before the
 * rename leaves a half folder that the next start throws away, a crash after it leaves a database.
 */
import { createReadStream } from 'node:fs'
import fs from 'node:fs/promises'
import path from 'node:path'
import { createZstdDecompress } from 'node:zlib'
import { HausError } from '@haus/contract'
import { readTar } from './tar.ts'
import { codeOf } from '../../errors/thrown.ts'

/** PostgreSQL's major version inside the pinned PGlite; a folder of another one does not open. */
export const postgresMajor = '18'

const archive = new URL('./seed/cluster.tar.zst', import.meta.url)

/** True when the folder was made just now. */
export async function ensureCluster(directory: string): Promise<boolean> {
  const version = await readVersion(directory)
  if (version === undefined) {
    await unpack(directory)
    return true
  }
  if (!/^\d+$/.test(version)) {
    throw new HausError(
      'database_corrupt',
      `the file PG_VERSION in ${directory} is damaged: it should hold ${postgresMajor}; check the disk and restore a backup`,
    )
  }
  if (version !== postgresMajor) {
    throw new HausError(
      'database_incompatible',
      `the embedded database in ${directory} was written by PostgreSQL ${version} and this Haus reads ${postgresMajor}: start the Haus that wrote it, make a backup there and restore it here`,
    )
  }
  return false
}

async function readVersion(directory: string): Promise<string | undefined> {
  try {
    return (await fs.readFile(path.join(directory, 'PG_VERSION'), 'utf8')).trim()
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
  }
  const entries = await fs.readdir(directory).catch(() => [])
  if (entries.length > 0) {
    throw new HausError(
      'database_corrupt',
      `${directory} holds files but no database (PG_VERSION is missing): move them away or restore a backup`,
    )
  }
  return undefined
}

async function unpack(directory: string): Promise<void> {
  const fresh = `${directory}.new`
  await fs.rm(fresh, { recursive: true, force: true })
  // 0700 before anything is in it.
  await fs.mkdir(fresh, { mode: 0o700 })
  const folders = [fresh]
  const source = createReadStream(archive).pipe(createZstdDecompress())
  for await (const entry of readTar(source)) {
    const target = path.join(fresh, entry.name)
    if (entry.kind === 'folder') {
      await fs.mkdir(target, { mode: 0o700 })
      folders.push(target)
      continue
    }
    const file = await fs.open(target, 'wx', 0o600)
    try {
      for await (const chunk of entry.content) await file.write(chunk)
      await file.sync()
    } finally {
      await file.close()
    }
  }
  for (const folder of folders.toReversed()) await syncFolder(folder)
  await fs.rename(fresh, directory)
  await syncFolder(path.dirname(directory))
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await fs.open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
