/** A service of its own process: it calls its peer without pause, and tells how that goes. */
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { createHealth, joinHaus } from '@haus/sdk'

const [name = '', peer = '', workers = ''] = process.argv.slice(2)
const stats = { ok: 0, failed: 0, failures: [] as string[] }
const health = createHealth()
const server = http.createServer((request, response) => {
  if (health.handle(request, response)) return
  if (request.url !== '/stats') {
    response.end(name)
    return
  }
  const { state, instance, reachable } = house
  void house.discover(peer).then(
    ({ ageMs }) => response.end(JSON.stringify({ ...stats, state, instance, reachable, ageMs })),
    () => response.writeHead(500).end('{}'),
  )
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const { port } = server.address() as AddressInfo
const house = await joinHaus({
  name,
  version: '1.0.0',
  port,
  health,
  dependencies: [peer],
  drain: () => new Promise((resolve) => server.close(resolve)),
})
console.log(JSON.stringify({ port }))

async function work(): Promise<void> {
  while (house.state !== 'left') {
    try {
      using target = await house.pick(peer)
      const answer = await fetch(`${target.url}/call`, { signal: AbortSignal.timeout(30_000) })
      if ((await answer.text()) !== peer) throw new Error(`answered ${answer.status}`)
      stats.ok += 1
    } catch (error) {
      // Until its peer has moved in there is nobody to call.
      if (stats.ok === 0) {
        await new Promise((resolve) => setTimeout(resolve, 20))
        continue
      }
      stats.failed += 1
      if (stats.failures.length < 10) stats.failures.push(String(error))
    }
    // Half a thousand calls a second in all: load, and something left for the rest of the machine.
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
for (let worker = 0; worker < Number(workers); worker++) void work()
