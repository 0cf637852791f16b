/**
 * The engine's worker on a disk that forgets: beside the real files it keeps a second folder, the
 * platter, which only ever receives what was synced. Killing the process leaves the platter as a
 * power cut would leave the disk; needs no privileges and no mount.
 *
 * The rules are those of a journaling file system read pessimistically: a file's content reaches
 * the platter when the file is synced, its creation with it; renames and deletions only when their
 * folder is synced. `platter:ignore-syncs` shows that the model has teeth: nothing survives.
 */
import fs from 'node:fs'
import path from 'node:path'
import { getEnvironmentData } from 'node:worker_threads'

interface FileState {
  /** Where it is now, relative to the data folder. */
  name: string
  /** Written but not synced, as pairs of offset and length. */
  dirty: [offset: number, length: number][]
  /** Open on the platter; undefined until the first sync of a new file. */
  platterFd: number | undefined
}

const { root, platter, ignoreSyncs } = getEnvironmentData('haus-test-platter') as {
  root: string
  platter: string
  ignoreSyncs: boolean
}
const states = new Map<number, FileState>()
const open = new Map<number, { state: FileState } | { folder: string }>()
const real = { ...fs }

const relative = (file: fs.PathLike): string => path.relative(root, String(file))
const isOurs = (file: fs.PathLike): boolean => {
  const name = relative(file)
  return !name.startsWith('..') && !path.isAbsolute(name)
}

function stateOf(file: string): FileState {
  const inode = real.lstatSync(file).ino
  const known = states.get(inode)
  if (known) return known
  const name = relative(file)
  const onPlatter = path.join(platter, name)
  const platterFd = real.existsSync(onPlatter) ? real.openSync(onPlatter, 'r+') : undefined
  const state: FileState = { name, dirty: [], platterFd }
  states.set(inode, state)
  return state
}

fs.writeFileSync = ((file: fs.PathLike, ...rest: [string, object]) => {
  real.writeFileSync(file, ...rest)
  if (!isOurs(file)) return
  // A new file, possibly with the inode number of one that was deleted.
  const inode = real.lstatSync(file).ino
  states.set(inode, { name: relative(file), dirty: [], platterFd: undefined })
}) as typeof fs.writeFileSync

fs.openSync = ((file: fs.PathLike, ...rest: [number]) => {
  const fd = real.openSync(file, ...rest)
  if (isOurs(file)) {
    const isFolder = real.fstatSync(fd).isDirectory()
    open.set(fd, isFolder ? { folder: relative(file) } : { state: stateOf(String(file)) })
  }
  return fd
}) as typeof fs.openSync

fs.closeSync = (fd) => {
  open.delete(fd)
  real.closeSync(fd)
}

fs.writeSync = ((fd: number, bytes: Uint8Array, offset: number, length: number, at: number) => {
  const written = real.writeSync(fd, bytes, offset, length, at)
  const entry = open.get(fd)
  if (entry && 'state' in entry) entry.state.dirty.push([at, written])
  return written
}) as typeof fs.writeSync

fs.renameSync = (from, to) => {
  const state = real.lstatSync(from).isFile() ? stateOf(String(from)) : undefined
  if (real.existsSync(to) && state) states.delete(real.lstatSync(to).ino)
  real.renameSync(from, to)
  if (state) state.name = relative(to)
}

fs.unlinkSync = (file) => {
  if (isOurs(file)) states.delete(real.lstatSync(file).ino)
  real.unlinkSync(file)
}

fs.mkdirSync = ((folder: fs.PathLike, ...rest: [number]) => {
  real.mkdirSync(folder, ...rest)
  if (isOurs(folder)) real.mkdirSync(path.join(platter, relative(folder)), { recursive: true })
}) as typeof fs.mkdirSync

fs.fsyncSync = fs.fdatasyncSync = (fd) => {
  real.fdatasyncSync(fd)
  const entry = open.get(fd)
  if (!entry || ignoreSyncs) return
  if ('state' in entry) syncFile(fd, entry.state)
  else syncFolder(entry.folder)
}

function syncFile(fd: number, state: FileState): void {
  const sizeBytes = real.fstatSync(fd).size
  // Another descriptor: this one may be open for writing only.
  const source = real.openSync(path.join(root, state.name), 'r')
  if (state.platterFd === undefined) {
    const target = path.join(platter, state.name)
    real.rmSync(target, { force: true })
    state.platterFd = real.openSync(target, 'w+')
    state.dirty = [[0, sizeBytes]]
  }
  for (const [offset, length] of state.dirty) {
    const bytes = Buffer.alloc(Math.min(length, Math.max(0, sizeBytes - offset)))
    real.readSync(source, bytes, 0, bytes.length, offset)
    real.writeSync(state.platterFd, bytes, 0, bytes.length, offset)
  }
  state.dirty = []
  real.ftruncateSync(state.platterFd, sizeBytes)
  real.closeSync(source)
}

/** Names as they are now: renamed files move, deleted ones go, new ones appear with what of them is synced. */
function syncFolder(folder: string): void {
  const target = path.join(platter, folder)
  const names = new Set<string>()
  for (const entry of real.readdirSync(path.join(root, folder), { withFileTypes: true })) {
    names.add(entry.name)
    if (!entry.isFile()) continue
    const state = stateOf(path.join(root, folder, entry.name))
    const file = path.join(target, entry.name)
    const current = real.existsSync(file) ? real.statSync(file).ino : undefined
    if (state.platterFd === undefined) {
      real.rmSync(file, { force: true })
      state.platterFd = real.openSync(file, 'w+')
      state.dirty = [[0, Number.MAX_SAFE_INTEGER]]
    } else if (real.fstatSync(state.platterFd).ino !== current) {
      moveTo(file, state.platterFd)
    }
  }
  for (const entry of real.readdirSync(target, { withFileTypes: true })) {
    if (entry.isFile() && !names.has(entry.name)) real.unlinkSync(path.join(target, entry.name))
  }
}

/** The platter's file may lie under any name by now, or under none. */
function moveTo(file: string, platterFd: number): void {
  const bytes = Buffer.alloc(real.fstatSync(platterFd).size)
  real.readSync(platterFd, bytes, 0, bytes.length, 0)
  real.rmSync(file, { force: true })
  const fresh = real.openSync(file, 'w+')
  real.writeSync(fresh, bytes, 0, bytes.length, 0)
  for (const state of states.values()) if (state.platterFd === platterFd) state.platterFd = fresh
  real.closeSync(platterFd)
}

await import('../platform/database/embedded/worker.ts')
