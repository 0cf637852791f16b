/**
 * The engine's thread: PGlite on real files, spoken to in raw protocol bytes.
 *
 * It answers one connection at a time, in order, and has no policy of its own. When the engine can
 * no longer be trusted (PANIC, FATAL, a trap in the WebAssembly code) it says so once and ends: as
 * shipped PGlite swallows such an exception and spins on it for ever.
 */
import { exit } from 'node:process'
import { parentPort, workerData, type MessagePort } from 'node:worker_threads'
import { PGlite } from '@electric-sql/pglite'
import { DurableNodeFS } from './durable-files.ts'
import type { EngineData, FromEngine, ToEngine } from './engine-messages.ts'
import { ReplyBuffer } from './reply-buffer.ts'

/** The status PGlite ends its main loop with for an ordinary SQL error. */
const sqlErrorStatus = 100

const startParams = [
  // Without -F, which would turn fsync off.
  ...PGlite.defaultStartParams.filter((param) => param !== '-F'),
  ...['-c', 'fsync=on'],
  // The default, fdatasync, never leaves Emscripten: durable-files.ts makes the choice instead.
  ...['-c', 'wal_sync_method=fsync'],
  // 128 MB by default, which doubles the resident memory and gains nothing at our sizes.
  ...['-c', 'shared_buffers=16MB'],
  // How many spent WAL segments are kept for reuse; checkpoints are driven by maintenance.ts.
  ...['-c', 'min_wal_size=64MB', '-c', 'max_wal_size=128MB'],
]

const main = parentPort
if (!main) throw new Error('worker.ts runs as a worker thread only')
const { directory } = workerData as EngineData

function tell(message: FromEngine): void {
  main?.postMessage(message)
}

function die(reason: string): never {
  tell({ kind: 'fatal', reason })
  exit(70)
}

/** The part of PGlite's module that has to be watched. */
interface EngineModule {
  _PostgresMainLoopOnce(): void
}

function endOnTrap(mod: EngineModule): void {
  const loopOnce = mod._PostgresMainLoopOnce
  mod._PostgresMainLoopOnce = () => {
    try {
      loopOnce()
    } catch (error) {
      const status = error instanceof Object && 'status' in error ? error.status : undefined
      if (status === sqlErrorStatus) throw error
      die(error instanceof Error ? error.message : `the engine stopped with ${String(error)}`)
    }
  }
}

function simpleQuery(sql: string): Uint8Array {
  const text = Buffer.from(`${sql}\0`)
  const message = Buffer.alloc(5 + text.length)
  message.write('Q')
  message.writeInt32BE(4 + text.length, 1)
  text.copy(message, 5)
  return message
}

async function start(): Promise<void> {
  const db = await PGlite.create({
    fs: new DurableNodeFS(directory),
    startParams,
    onStderr: (line) => (/\b(PANIC|FATAL):/.test(line) ? die(line) : false),
  })
  endOnTrap(db.Module)

  let current: MessagePort | undefined

  // Runs synchronously inside; execProtocolRaw and execProtocolRawSync would keep every message.
  const run = (bytes: Uint8Array, onRawData: (bytes: Uint8Array) => void): void => {
    db.execProtocolRawStream(bytes, { syncToFs: false, onRawData }).catch((error: unknown) => {
      die(String(error))
    })
  }

  // The session outlives its connections, so each one gets it without the traces of the last:
  // no open transaction, no settings, prepared statements, locks or subscriptions.
  const rollback = simpleQuery('rollback')
  const discard = simpleQuery('discard all')
  const clean = (): void => {
    if (db.isInTransaction()) run(rollback, () => {})
    run(discard, () => {})
  }

  const serve = (port: MessagePort): void => {
    current?.close()
    clean()
    current = port
    const reply = new ReplyBuffer((bytes) => port.postMessage(bytes, [bytes.buffer]))
    const collect = (bytes: Uint8Array): void => reply.append(bytes)
    port.on('message', (bytes: Uint8Array) => {
      if (port !== current) return
      run(bytes, collect)
      reply.flush()
    })
    port.on('close', () => {
      if (port !== current) return
      current = undefined
      clean()
    })
  }

  main?.on('message', (message: ToEngine) => {
    if (message.kind === 'connect') {
      serve(message.port)
      return
    }
    current?.close()
    current = undefined
    clean()
    // Ends with PostgreSQL's shutdown checkpoint, so that the next start has nothing to recover.
    void db.close().then(
      () => {
        tell({ kind: 'closed' })
        exit(0)
      },
      (error: unknown) => die(String(error)),
    )
  })
  tell({ kind: 'ready' })
}

start().catch((error: unknown) => die(error instanceof Error ? error.message : String(error)))
