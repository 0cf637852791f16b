/**
 * The gateway's thread. It has its own event loop, so that neither a stalled API nor a slow query
 * touches traffic; it never opens the database. If it ends by an error the process ends, because
 * half a house that looks whole is worse than one that a supervisor starts again.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../../platform/clock/clock.ts'
import { systemRandom } from '../../platform/crypto/random.ts'
import { listenError } from '../../platform/network/listen-error.ts'
import { createDataPlane } from './data-plane/data-plane.ts'
import type { FromWorker, WorkerSettings } from './messages.ts'

const port = parentPort
if (!port) throw new Error('worker.ts runs as a worker thread only')
// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- whoever started this thread gave it these
const settings = workerData as WorkerSettings

createDataPlane({ settings, port, clock: systemClock, random: systemRandom })
  .open()
  .catch((error: unknown) => {
    const { code, message: detail } = listenError(error, settings.address, 'HAUS_GATEWAY_ADDR')
    const message: FromWorker = { kind: 'closed-door', code, detail }
    port.postMessage(message)
  })
