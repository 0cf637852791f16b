/** The public face of the database: how to open one, how to migrate it, what it looks like. */
import { openEmbedded } from './embedded/open.ts'
import { openPostgres } from './postgres/open.ts'
import type { Database, OpenDatabaseOptions } from './database.ts'

export { readTimeoutMs } from './database.ts'
export type { Database, DatabaseKind, Log, OpenDatabaseOptions } from './database.ts'
export { DataDirLock, prepareDataDir } from './data-dir.ts'
export { migrate, type Migration } from './migrate.ts'

export function openDatabase<Tables>(options: OpenDatabaseOptions): Promise<Database<Tables>> {
  const { url, dataDir, log, onFatal } = options
  return url === undefined
    ? openEmbedded<Tables>({ dataDir, log, onFatal })
    : openPostgres<Tables>({ url, log })
}
