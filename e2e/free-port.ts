/** A port for a program that has to be told one before it runs. */
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/**
 * Below the ports that a kernel gives to whoever asks for any, 32768 and up on Linux: of those one
 * that has just been let go is soon another program's, with as many connections as tests make.
 */
const lowest = 15_000
const highest = 30_000

export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(lowest, highest)
    const server = createServer()
    const opened = once(server, 'listening')
    server.listen(port, '127.0.0.1')
    const isFree = await opened.then(() => true).catch(() => false)
    if (!isFree) continue
    await new Promise((resolve) => server.close(resolve))
    return port
  }
}
