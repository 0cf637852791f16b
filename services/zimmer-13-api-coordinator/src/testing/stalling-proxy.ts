/**
 * A line to a TCP server that can fall silent: nothing is refused, nothing is closed, nothing
 * arrives. It is how a lost network, a frozen virtual machine or a failed-over address looks.
 */
import { once } from 'node:events'
import net from 'node:net'

export interface StallingProxy {
  /** `url` with the proxy in the place of its host and port. */
  readonly url: string
  /** Holds back every byte in both directions, on open and on new connections. */
  stall(): void
  /** What was held back arrives, as after a short loss of the network. */
  resume(): void
  close(): Promise<void>
}

export async function startStallingProxy(url: string): Promise<StallingProxy> {
  const target = new URL(url)
  const sockets = new Set<net.Socket>()
  let stalled = false

  const track = (socket: net.Socket): void => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  }
  const join = (from: net.Socket, to: net.Socket): void => {
    from.on('data', (chunk) => to.write(chunk))
    from.on('close', () => to.destroy())
    if (stalled) from.pause()
  }
  const server = net.createServer((near) => {
    const far = net.connect(Number(target.port), target.hostname)
    for (const socket of [near, far]) track(socket)
    join(near, far)
    join(far, near)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const through = new URL(url)
  through.host = `127.0.0.1:${address.port}`

  return {
    url: through.href,
    stall() {
      stalled = true
      for (const socket of sockets) socket.pause()
    },
    resume() {
      stalled = false
      for (const socket of sockets) socket.resume()
    },
    async close() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}
