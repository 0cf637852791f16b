/**
 * A disk under test control below the embedded engine: it counts syncs and fails on demand.
 *
 * The engine's real worker runs on it; only `node:fs` of its thread is wrapped, so production code
 * has no switch for tests.
 */
import { setEnvironmentData } from 'node:worker_threads'

const slots = { walSyncs: 0, otherSyncs: 1, failWrites: 2, failSyncs: 3, trap: 4 } as const

export const watchedDiskKey = 'haus-test-watched-disk'

export class DiskControl {
  readonly shared: SharedArrayBuffer
  readonly #cells: Int32Array

  constructor(shared = new SharedArrayBuffer(64)) {
    this.shared = shared
    this.#cells = new Int32Array(shared)
  }

  get walSyncs(): number {
    return Atomics.load(this.#cells, slots.walSyncs)
  }
  get otherSyncs(): number {
    return Atomics.load(this.#cells, slots.otherSyncs)
  }
  countSync(kind: 'walSyncs' | 'otherSyncs'): void {
    Atomics.add(this.#cells, slots[kind], 1)
  }

  /** Every write fails with ENOSPC from now on. */
  fill(full = true): void {
    Atomics.store(this.#cells, slots.failWrites, full ? 1 : 0)
  }
  get isFull(): boolean {
    return Atomics.load(this.#cells, slots.failWrites) === 1
  }

  /** Every sync fails with EIO from now on. */
  breakSyncs(): void {
    Atomics.store(this.#cells, slots.failSyncs, 1)
  }
  get syncsFail(): boolean {
    return Atomics.load(this.#cells, slots.failSyncs) === 1
  }

  /** The next read throws what no file system throws, as a bug in the WebAssembly code would. */
  springTrap(): void {
    Atomics.store(this.#cells, slots.trap, 1)
  }
  get trapIsSet(): boolean {
    return Atomics.load(this.#cells, slots.trap) === 1
  }
}

/** For the `workerUrl` of an engine that is opened after this call. */
export function watchDisk(): { control: DiskControl; workerUrl: URL } {
  const control = new DiskControl()
  setEnvironmentData(watchedDiskKey, control.shared)
  return { control, workerUrl: new URL('./watched-disk-worker.ts', import.meta.url) }
}
