/** The engine's worker on a watched disk; see watched-disk.ts. */
import fs from 'node:fs'
import { getEnvironmentData } from 'node:worker_threads'
import { DiskControl, watchedDiskKey } from './watched-disk.ts'

const control = new DiskControl(getEnvironmentData(watchedDiskKey) as SharedArrayBuffer)

function failure(code: string): Error {
  return Object.assign(new Error(`${code}: injected by a test`), { code })
}

const { fsyncSync, fdatasyncSync, writeSync, readSync } = fs
fs.fsyncSync = (fd) => {
  if (control.syncsFail) throw failure('EIO')
  control.countSync('otherSyncs')
  fsyncSync(fd)
}
fs.fdatasyncSync = (fd) => {
  if (control.syncsFail) throw failure('EIO')
  control.countSync('walSyncs')
  fdatasyncSync(fd)
}
fs.writeSync = ((...args: Parameters<typeof writeSync>) => {
  if (control.isFull) throw failure('ENOSPC')
  return writeSync(...args)
}) as typeof writeSync
fs.readSync = ((...args: Parameters<typeof readSync>) => {
  if (control.trapIsSet) throw new Error('unreachable (injected by a test)')
  return readSync(...args)
}) as typeof readSync

await import('../platform/database/embedded/worker.ts')
