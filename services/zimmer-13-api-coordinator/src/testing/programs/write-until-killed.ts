/**
 * Writes to the embedded database as the ledger does and tells every acknowledged number on its
 * output, until it is killed. `forgetful` and `deaf` put the power-cut disk below.
 */
import fs from 'node:fs'
import path from 'node:path'
import { setEnvironmentData } from 'node:worker_threads'
import { openEmbedded } from '../../platform/database/embedded/open.ts'
import { silentLog } from '../databases.ts'

const [dataDir, disk = 'honest'] = process.argv.slice(2)
if (!dataDir) throw new Error('usage: write-until-killed.ts <folder> [honest|forgetful|deaf]')

const root = path.join(dataDir, 'database')
const platter = path.join(dataDir, 'platter')
if (disk !== 'honest') {
  fs.cpSync(root, platter, { recursive: true })
  setEnvironmentData('haus-test-platter', { root, platter, ignoreSyncs: disk === 'deaf' })
}
const database = await openEmbedded({
  dataDir,
  log: silentLog,
  onFatal: (error) => {
    throw error
  },
  ...(disk !== 'honest' && { workerUrl: new URL('../power-cut-worker.ts', import.meta.url) }),
})
const { pool } = database

const append = `
  with head as (update crash_head set last = last + $1 returning last - $1 as base),
    entries as (
      insert into crash_entry (index, body)
      select base + n, repeat(md5((base + n)::text), 8) from head, generate_series(1, $1) n
    ),
    updated as (
      insert into crash_row (id, last)
      select distinct on ((base + n) % 500) (base + n) % 500, base + n
      from head, generate_series(1, $1) n order by (base + n) % 500, n desc
      on conflict (id) do update set last = excluded.last
    )
  select base from head`

console.log('writing')
for (let round = 1; ; round += 1) {
  const size = 1 + (round % 60)
  const { rows } = await pool.query<{ base: number }>({
    name: 'append',
    text: append,
    values: [size],
  })
  // Synchronous, so that nothing counts as acknowledged that was not said.
  fs.writeSync(1, `acknowledged ${Number(rows[0]?.base) + size}\n`)
  if (round % 150 === 0) await pool.query('checkpoint')
  if (round % 400 === 0) await pool.query('vacuum crash_row')
}
