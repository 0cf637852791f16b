/**
 * A connection that is lost while somebody has it checked out fails his query, and besides emits an
 * error on the client that the pool does not listen to at that time; unheard it ends the process.
 */
import type { PoolClient } from 'pg'

export function surviveLoss(client: PoolClient): void {
  client.on('error', () => {})
}
