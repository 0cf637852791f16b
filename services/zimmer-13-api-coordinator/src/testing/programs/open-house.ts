/**
 * Opens a house and kills itself before the step that it is told: each call to the file system and
 * each query is one step. Writes how many there were when it gets through.
 */
import fs from 'node:fs/promises'
import pg from 'pg'
// Not through the index: this program starts dozens of times, and the rest is twice as much code.
import { openHouse } from '../../features/identity/house.ts'
import type { Tables } from '../../features/tables.ts'
import { systemClock } from '../../platform/clock/clock.ts'
import { systemRandom } from '../../platform/crypto/index.ts'
import { openDatabase } from '../../platform/database/index.ts'
import type { Log } from '../../platform/log/log.ts'
import { silentLog } from '../databases.ts'

const [url, dataDir, lastStep] = process.argv.slice(2)
if (!url || !dataDir || !lastStep) throw new Error('usage: open-house.ts <url> <folder> <step>')

let steps = -1
function step(): void {
  if (steps === -1) return
  steps += 1
  if (steps === Number(lastStep)) process.kill(process.pid, 'SIGKILL')
}

function before(target: object, names: readonly string[]): void {
  const methods = target as Record<string, (...args: unknown[]) => unknown>
  for (const name of names) {
    const original = methods[name]
    if (!original) throw new Error(`there is no ${name}`)
    methods[name] = function (this: unknown, ...args) {
      step()
      return original.apply(this, args)
    }
  }
}

const handle = await fs.open(import.meta.filename)
before(Object.getPrototypeOf(handle) as object, ['chmod', 'writeFile', 'sync'])
await handle.close()
before(fs, ['open', 'link', 'rename', 'rm'])
before(pg.Client.prototype, ['query'])

const database = await openDatabase<Tables>({
  url,
  dataDir,
  log: silentLog,
  onFatal: () => process.exit(70),
})
steps = 0
const house = await openHouse({
  database,
  dataDir,
  rootKeyFile: `${dataDir}/root.key`,
  clock: systemClock,
  random: systemRandom,
  log: silentLog as Log,
})
console.log(`opened ${house.houseId} after ${steps} steps`)
steps = -1
await database.close()
