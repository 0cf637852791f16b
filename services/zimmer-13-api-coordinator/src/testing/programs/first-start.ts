/** Makes a new embedded database, telling when it begins and when it is done. */
import { ensureCluster } from '../../platform/database/embedded/seed.ts'

const [directory] = process.argv.slice(2)
if (!directory) throw new Error('usage: first-start.ts <folder>')
console.log('begin')
await ensureCluster(directory)
console.log('done')
