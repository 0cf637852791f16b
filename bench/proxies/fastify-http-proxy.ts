/**
 * The reference of the gateway among programs on the same runtime: `@fastify/http-proxy` as its
 * own documentation starts it, without a log, in a process of its own.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import httpProxy from '@fastify/http-proxy'
import { fastify } from 'fastify'
import type { RunningProxy } from './system-proxies.ts'

const root = path.resolve(import.meta.dirname, '../..')

export async function startFastifyHttpProxy(upstream: number): Promise<RunningProxy> {
  const child = fork(fileURLToPath(import.meta.url), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  child.send(upstream)
  const [port] = (await once(child, 'message')) as [number]
  const { pid } = child
  if (pid === undefined) throw new Error('@fastify/http-proxy could not be spawned')
  const manifest = path.join(root, 'node_modules/@fastify/http-proxy/package.json')
  const { version }: { version: string } = JSON.parse(fs.readFileSync(manifest, 'utf8'))
  return {
    name: '@fastify/http-proxy',
    version,
    port,
    pid,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    },
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.once('disconnect', () => process.exit(0))
  process.once('message', (upstream: number) => {
    const server = fastify({ logger: false })
    void server.register(httpProxy, { upstream: `http://127.0.0.1:${upstream}` })
    server.listen({ port: 0, host: '127.0.0.1' }, () => {
      const address = server.server.address()
      if (typeof address === 'object' && address !== null) process.send?.(address.port)
    })
  })
}
