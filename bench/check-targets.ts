/**
 * What the house checks in the monitor's benchmark: one port that answers every health check and one
 * that takes connections and never answers, both on every loopback address, so that an address is
 * an instance. In a process of its own; it notes which address was checked when.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'

export interface Arrival {
  readonly address: string
  /** Milliseconds since 1970, with fractions. */
  readonly atMs: number
}

export interface CheckTargets extends AsyncDisposable {
  readonly pid: number
  readonly answeringPort: number
  readonly hangingPort: number
  /** The checks since it was last asked. */
  takeArrivals(): Promise<Arrival[]>
}

/** 10 minutes of 500 instances at 10 s; somebody who asks less often loses the rest. */
const arrivalsMax = 50_000

export async function startCheckTargets(): Promise<CheckTargets> {
  const child = fork(fileURLToPath(import.meta.url), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const [[answeringPort, hangingPort]] = (await once(child, 'message')) as [[number, number]]
  return {
    pid: child.pid ?? 0,
    answeringPort,
    hangingPort,
    async takeArrivals() {
      const answer = once(child, 'message')
      child.send('take')
      const [arrivals] = (await answer) as [Arrival[]]
      return arrivals
    },
    [Symbol.asyncDispose]: async () => {
      const gone = once(child, 'exit')
      if (child.kill('SIGKILL')) await gone
    },
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.once('disconnect', () => process.exit(0))
  let arrivals: Arrival[] = []
  const note = (socket: net.Socket): void => {
    if (arrivals.length === arrivalsMax) return
    arrivals.push({
      address: socket.localAddress ?? '',
      atMs: performance.timeOrigin + performance.now(),
    })
  }
  process.on('message', () => {
    process.send?.(arrivals)
    arrivals = []
  })
  const answering = http.createServer((_request, response) => void response.end('up'))
  answering.on('connection', note)
  const hanging = net.createServer((socket) => {
    note(socket)
    socket.on('error', () => socket.destroy())
    socket.resume()
  })
  const ports: number[] = []
  for (const server of [answering, hanging]) {
    server.listen({ host: '0.0.0.0', port: 0, backlog: 1024 })
    await once(server, 'listening')
    ports.push((server.address() as AddressInfo).port)
  }
  process.send?.(ports)
}
