/**
 * The gateway's thread. It has its own event loop, so that neither a stalled API nor a slow query
 * touches traffic; it never opens the database. If it ends by an error the process ends, because
 * half a house that looks whole is worse than one that a supervisor starts again.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../../platform/clock/clock.ts'
import { systemRandom } from '../../platform/crypto/random.ts'
import { createDataPlane } from './data-plane/data-plane.ts'
import type { FromWorker, WorkerSettings } from './messages.ts'

const port = parentPort
if (!port) throw new Error('worker.ts runs as a worker thread only')
// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- whoever started this thread gave it these
const settings = workerData as WorkerSettings

createDataPlane({ settings, port, clock: systemClock, random: systemRandom })
  .open()
  .catch((error: unknown) => {
    const { host, port: wanted } = settings.address
    const shown = `${host}:${wanted}`
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    const message: FromWorker =
      code === 'EADDRINUSE'
        ? {
            kind: 'closed-door',
            code: 'address_in_use',
            detail: `${shown} is in use by another program; stop it, or choose another HAUS_GATEWAY_ADDR.`,
          }
        : {
            kind: 'closed-door',
            code: 'address_unusable',
            detail: `${shown} cannot be bound (${code}).`,
          }
    port.postMessage(message)
  })
