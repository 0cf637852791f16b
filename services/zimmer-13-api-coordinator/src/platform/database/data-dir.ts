/**
 * The data folder and its lock.
 *
 * PGlite takes no lock of its own, and two processes on one folder corrupt it without a word. The
 * lock here is the exclusive lock of an SQLite file: the kernel frees it with the process, `kill -9`
 * included, so there is never a stale one to clean up and never a reason to steal one.
 */
import fs from 'node:fs'
import { hostname } from 'node:os'
import path from 'node:path'
import { geteuid, pid } from 'node:process'
import { DatabaseSync } from 'node:sqlite'
import { HausError } from '@haus/contract'
import { fatalError } from './embedded/fatal-error.ts'
import { codeOf } from '../errors/thrown.ts'

/** Makes the folder if need be, readable by its owner only, and refuses one that cannot be used. */
export function prepareDataDir(dataDir: string): void {
  try {
    // An existing folder keeps its mode: it may be a mount point, or hold other people's files.
    fs.mkdirSync(dataDir, { recursive: true, mode: 0o700 })
    fs.accessSync(dataDir, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK)
  } catch (error) {
    throw dataDirError(dataDir, error)
  }
}

/** The sentence for what the operating system said about the folder. */
export function dataDirError(dataDir: string, error: unknown): HausError {
  const code = codeOf(error)
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new HausError('disk_full', `the disk that holds ${dataDir} is full: free some space`, {
      cause: error,
    })
  }
  if (code === 'EMFILE' || code === 'ENFILE') return fatalError(code, dataDir)
  const reason =
    code === 'EEXIST' || code === 'ENOTDIR'
      ? 'it is not a folder'
      : code === 'EROFS'
        ? 'it lies on a read-only file system'
        : code === 'EACCES' || code === 'EPERM'
          ? 'this user may not write there'
          : `opening it failed with ${String(code ?? error)}`
  return new HausError(
    'data_dir_unusable',
    `the data folder ${dataDir} cannot be used: ${reason}; mend it or set HAUS_DATA_DIR to another folder`,
    { cause: error },
  )
}

/** SQLite says that it cannot, and neither of which file nor why. */
function lockFileError(dataDir: string, file: string, error: unknown): HausError {
  const code = codeOf(error)
  if (code !== 'ERR_SQLITE_ERROR' && code !== 'EPERM') return dataDirError(dataDir, error)
  const sqliteCode = error instanceof Error && 'errcode' in error ? error.errcode : undefined
  const found = fs.statSync(file, { throwIfNoEntry: false })
  const reason =
    found && !found.isFile()
      ? 'is not a file; move it away'
      : sqliteCode === notADatabase
        ? 'is not a lock that Haus has made; move it away'
        : found && found.uid !== geteuid?.()
          ? 'belongs to another user; give it to the one that Haus runs as'
          : `cannot be used (${error instanceof Error ? error.message : String(error)})`
  return new HausError(
    'data_dir_unusable',
    `the data folder ${dataDir} cannot be locked: ${file} ${reason}`,
    { cause: error },
  )
}

/** SQLITE_NOTADB */
const notADatabase = 26

/**
 * Holds the folder for this process until `release`. Keep a reference as long as the database is
 * open: SQLite drops the lock when the connection is garbage-collected. Nothing may open or copy
 * `haus.lock` meanwhile, backups included: closing any descriptor of it in this process drops the
 * lock too, which is why the holder's pid lies in a file of its own.
 */
export class DataDirLock {
  readonly #connection: DatabaseSync
  readonly #holderFile: string

  constructor(dataDir: string) {
    const file = path.join(dataDir, 'haus.lock')
    this.#holderFile = path.join(dataDir, 'haus.pid')
    let connection: DatabaseSync | undefined
    try {
      connection = new DatabaseSync(file, { timeout: 0 })
      connection.exec(
        'pragma locking_mode = exclusive; pragma journal_mode = memory; begin exclusive',
      )
      fs.chmodSync(file, 0o600)
      fs.writeFileSync(this.#holderFile, `${pid} ${hostname()}\n`, { mode: 0o600 })
    } catch (error) {
      connection?.close()
      if (error instanceof Error && /database is locked/.test(error.message)) {
        throw new HausError('data_dir_locked', lockedSentence(dataDir, this.#holderFile))
      }
      throw lockFileError(dataDir, file, error)
    }
    this.#connection = connection
  }

  release(): void {
    if (!this.#connection.isOpen) return
    fs.rmSync(this.#holderFile, { force: true })
    this.#connection.close()
  }
}

function lockedSentence(dataDir: string, holderFile: string): string {
  const holder = readHolder(holderFile)
  const by = holder ? ` by process ${holder.pid} on ${holder.host}` : ''
  return `the data folder ${dataDir} is in use${by}: stop that Haus first, or set HAUS_DATA_DIR to another folder`
}

function readHolder(holderFile: string): { pid: string; host: string } | undefined {
  try {
    const match = /^(\d+) (\S+)\n$/.exec(fs.readFileSync(holderFile, 'utf8'))
    return match?.[1] && match[2] ? { pid: match[1], host: match[2] } : undefined
  } catch {
    return undefined
  }
}
