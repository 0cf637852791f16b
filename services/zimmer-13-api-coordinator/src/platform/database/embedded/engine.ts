/**
 * The main thread's handle on the engine's thread: start it, connect to it, learn of its death,
 * end it. It never restarts the engine: after a fatal error only a new process knows what is on disk.
 */
import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads'
import type { EngineData, FromEngine, ToEngine } from './engine-messages.ts'

export interface EngineOptions {
  readonly directory: string
  /** Tests put a faulty disk below the engine by a worker of their own. */
  readonly workerUrl?: URL | undefined
  /** Called once when the engine ends without having been asked to. */
  readonly onDeath: (reason: string) => void
}

export interface Engine {
  /** A line for protocol bytes, which ends the one before it and is closed with the engine. Throws when the engine is gone. */
  connect(): MessagePort
  /** Ends the engine with a checkpoint; after `timeoutMs` its thread is stopped as by `kill -9`, which loses nothing acknowledged. */
  close(timeoutMs: number): Promise<void>
}

/** Resolves when the engine can take connections; rejects with PostgreSQL's own words if it cannot start. */
export async function startEngine(options: EngineOptions): Promise<Engine> {
  const data: EngineData = { directory: options.directory }
  const worker = new Worker(options.workerUrl ?? new URL('./worker.ts', import.meta.url), {
    name: 'database',
    workerData: data,
  })
  let state: 'starting' | 'running' | 'closing' | 'dead' = 'starting'
  let reason: string | undefined
  const started = Promise.withResolvers<void>()
  const ended = Promise.withResolvers<void>()

  worker.on('message', (message: FromEngine) => {
    if (message.kind === 'fatal') reason ??= message.reason
    if (message.kind === 'ready' && state === 'starting') {
      state = 'running'
      started.resolve()
    }
  })
  worker.on('error', (error) => {
    reason ??= error instanceof Error ? error.message : String(error)
  })
  worker.on('exit', (code) => {
    const before = state
    state = 'dead'
    ended.resolve()
    const because = reason ?? `the database thread ended with code ${code}`
    if (before === 'starting') started.reject(new Error(because))
    if (before === 'running') options.onDeath(because)
  })
  await started.promise

  const post = (message: ToEngine, transfer: MessagePort[]): void => {
    worker.postMessage(message, transfer)
  }
  return {
    connect: () => {
      if (state !== 'running') throw new Error('the embedded database is closed')
      const { port1, port2 } = new MessageChannel()
      post({ kind: 'connect', port: port2 }, [port2])
      return port1
    },
    close: async (timeoutMs) => {
      if (state === 'running') {
        state = 'closing'
        post({ kind: 'close' }, [])
      }
      const deadline = setTimeout(() => void worker.terminate(), timeoutMs)
      await ended.promise
      clearTimeout(deadline)
    },
  }
}
