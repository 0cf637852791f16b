/** Opens the embedded database, asks one question and tells its own resident memory. */
import { openDatabase } from '../../platform/database/index.ts'
import { silentLog } from '../databases.ts'

const [dataDir] = process.argv.slice(2)
if (!dataDir) throw new Error('usage: report-memory.ts <folder>')
const startedAt = performance.now()
const database = await openDatabase({ dataDir, log: silentLog, onFatal: () => process.exit(70) })
await database.pool.query('select 1')
const openMs = Math.round(performance.now() - startedAt)
console.log(JSON.stringify({ openMs, residentBytes: process.memoryUsage.rss() }))
await database.close()
