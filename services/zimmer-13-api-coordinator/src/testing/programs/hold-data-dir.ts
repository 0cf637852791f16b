/** Opens the embedded database, forgets the handle, collects garbage, then waits to be killed. */
import { HausError } from '@haus/contract'
import { openDatabase } from '../../platform/database/index.ts'
import { silentLog } from '../databases.ts'

const [dataDir] = process.argv.slice(2)
if (!dataDir || !globalThis.gc) throw new Error('usage: node --expose-gc hold-data-dir.ts <folder>')
try {
  await openDatabase({ dataDir, log: silentLog, onFatal: () => process.exit(70) })
} catch (error) {
  console.log(error instanceof HausError ? error.code : error)
  process.exit(1)
}
for (let round = 0; round < 20; round += 1) {
  globalThis.gc()
  await new Promise(setImmediate)
}
console.log('held')
setInterval(() => {}, 60_000)
