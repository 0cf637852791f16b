/** What the main thread and the engine's thread say to each other, beside the protocol bytes. */
import type { MessagePort } from 'node:worker_threads'

export interface EngineData {
  /** The PostgreSQL data folder, already unpacked. */
  readonly directory: string
}

/** `connect` replaces the connection before it: the engine has one session. */
export type ToEngine =
  | { readonly kind: 'connect'; readonly port: MessagePort }
  | { readonly kind: 'close' }

/** After `fatal` the thread ends by itself. `reason` is PostgreSQL's own line, or the exception's. */
export type FromEngine =
  | { readonly kind: 'ready' }
  | { readonly kind: 'closed' }
  | { readonly kind: 'fatal'; readonly reason: string }
