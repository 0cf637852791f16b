/** Whether a program of this machine takes connections yet, and which port is free. */
import http from 'node:http'
import net from 'node:net'

/** A loopback connection is made or refused at once; one that is neither is behind a firewall. */
const connectTimeoutMs = 1_000
/** A health check may do some work. */
const answerTimeoutMs = 5_000

export function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port })
    const done = (answer: boolean) => (): void => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(connectTimeoutMs, done(false))
    socket.once('connect', done(true))
    socket.once('error', done(false))
  })
}

/** Any 2xx, as the house sees it. */
export function answersWell(host: string, port: number, path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const request = http.get({ host, port, path, agent: false, timeout: answerTimeoutMs })
    request.once('response', (response) => {
      response.resume()
      const { statusCode = 0 } = response
      resolve(statusCode >= 200 && statusCode < 300)
      request.destroy()
    })
    request.once('timeout', () => request.destroy())
    request.once('error', () => resolve(false))
  })
}

/** Free a moment ago: nobody can keep it for a program that has not started yet. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() =>
        resolve(typeof address === 'object' && address !== null ? address.port : 0),
      )
    })
  })
}
