/** Turns the engine's last words into the one sentence an operator can act on. */
import { HausError } from '@haus/contract'

export function fatalError(reason: string, dataDir: string): HausError {
  const cause = new Error(reason)
  if (/No space left on device|ENOSPC|Quota exceeded|EDQUOT/i.test(reason)) {
    return new HausError(
      'disk_full',
      `the disk that holds ${dataDir} is full: free some space and start Haus again; nothing acknowledged is lost`,
      { cause },
    )
  }
  if (/Too many open files|\bE[MN]FILE\b|No file descriptors available/i.test(reason)) {
    return new HausError(
      'data_dir_unusable',
      `the files of ${dataDir} cannot be opened: too many are open already; raise the limit of open files (ulimit -n, LimitNOFILE in systemd) to 1024 or more and start Haus again; nothing acknowledged is lost`,
      { cause },
    )
  }
  return new HausError(
    'database_corrupt',
    `the embedded database in ${dataDir} stopped: "${reason.trim()}"; check the disk and start Haus again, or restore a backup`,
    { cause },
  )
}
