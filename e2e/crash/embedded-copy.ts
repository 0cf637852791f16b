/**
 * Looks into an embedded database whose house has been killed, on a copy of its folder: the house
 * itself must do the recovery, and the copy may be given an extension to check it with.
 */
import fs from 'node:fs'
import path from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import { amcheck } from '@electric-sql/pglite/contrib/amcheck'
import { temporaryFolder } from '../harness.ts'
import type { Query } from './check-database.ts'

export async function withEmbeddedCopy(
  dataDir: string,
  look: (query: Query) => Promise<void>,
): Promise<void> {
  const folder = temporaryFolder()
  try {
    const copy = path.join(folder, 'database')
    fs.cpSync(path.join(dataDir, 'database'), copy, { recursive: true })
    const database = await PGlite.create({ dataDir: copy, extensions: { amcheck } })
    try {
      await look(async (sql, parameters) => {
        const { rows } = await database.query<Record<string, unknown>>(sql, parameters)
        return rows
      })
    } finally {
      await database.close()
    }
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}
