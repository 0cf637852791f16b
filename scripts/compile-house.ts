/**
 * Opens a house and closes it: what Node has compiled for it is then in the folder of compiled code
 * of this run. A house leaves it there when it ends by itself, and those of the first tests are killed.
 */
import { startHouse } from '../e2e/harness.ts'

await using house = await startHouse()
await house.stop()
