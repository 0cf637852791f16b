/**
 * The reference of the read benchmarks: a bare `node:http` server that sends one fixed answer, in a
 * process of its own. It checks nothing, routes nothing, logs nothing: the least that any server on
 * this runtime can do.
 */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'

export interface ReferenceAnswer {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export interface ReferenceServer extends AsyncDisposable {
  readonly pid: number
  readonly port: number
}

export async function startReferenceServer(answer: ReferenceAnswer): Promise<ReferenceServer> {
  const child = fork(fileURLToPath(import.meta.url), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  child.send(answer)
  const [port] = (await Promise.race([once(child, 'message'), died(child)])) as [number]
  const { pid } = child
  if (pid === undefined) throw new Error('The reference server could not be spawned')
  return {
    pid,
    port,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    },
  }
}

async function died(child: ChildProcess): Promise<never> {
  const [code] = await once(child, 'exit')
  throw new Error(`The reference server ended with ${String(code)}`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.once('disconnect', () => process.exit(0))
  process.once('message', ({ headers, body }: ReferenceAnswer) => {
    const bytes = Buffer.from(body)
    const all = { ...headers, 'content-length': bytes.length }
    const server = http.createServer((request, response) => {
      // A body that is never read would fill the socket.
      if (request.method !== 'GET') request.resume()
      response.writeHead(200, all)
      response.end(bytes)
    })
    server.keepAliveTimeout = 75_000
    server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port))
  })
}
