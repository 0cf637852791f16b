/**
 * One listener that stands for any number of instances: bound to every loopback address, it takes
 * the house's connection checks and closes them. In a process of its own, so that its CPU time is
 * nobody else's.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { fileURLToPath } from 'node:url'

export interface ProbeListener extends AsyncDisposable {
  readonly port: number
}

export async function startProbeListener(): Promise<ProbeListener> {
  const child = fork(fileURLToPath(import.meta.url), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const [port] = (await once(child, 'message')) as [number]
  return {
    port,
    [Symbol.asyncDispose]: async () => {
      const gone = once(child, 'exit')
      if (child.kill('SIGKILL')) await gone
    },
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.once('disconnect', () => process.exit(0))
  const server = net.createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.end()
    socket.resume()
  })
  server.listen({ host: '0.0.0.0', port: 0, backlog: 4096 }, () => {
    const address = server.address()
    if (typeof address === 'object' && address !== null) process.send?.(address.port)
  })
}
