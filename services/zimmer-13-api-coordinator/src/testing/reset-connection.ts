import type { Socket } from 'node:net'

/**
 * Ends a connection with RST, as a process does that dies.
 *
 * One whose end is being written already is only destroyed: libuv refuses to reset it, Node 26
 * takes it for closed all the same, and the process spins for ever on that handle when it ends.
 */
export function resetConnection(socket: Socket): void {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}
