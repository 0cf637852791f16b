/** A service of a test: it listens, has a key of its own, and lives in a house with the room kit. */
import { once } from 'node:events'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { createHealth, joinHaus, type House as Joined, type JoinOptions } from '@haus/sdk'
import { createIdentity, type ServiceKey } from './client.ts'
import { temporaryFolder, type House } from './harness.ts'

type Data = Readonly<Record<string, unknown>>
type Options = Partial<Omit<JoinOptions<Data>, 'log'>>

/** Where a service keeps what outlives it: its key and its cache. */
export interface Place {
  readonly name: string
  readonly key: ServiceKey
  readonly secretFile: string
  readonly cacheFile: string
  /** Every line that the kit logged, of every start. */
  readonly log: string[]
}

export interface Service extends AsyncDisposable {
  readonly house: Joined<Data>
  readonly port: number
  readonly server: http.Server
  /** Ends without a word, as a crash does. */
  crash(): Promise<void>
}

export const folder = temporaryFolder()
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))

export async function createPlace(house: House, name: string): Promise<Place> {
  const key = await createIdentity(house.operator, name)
  const own = path.join(folder, `${name}-${key.clientId}`)
  mkdirSync(own)
  const secretFile = path.join(own, 'secret')
  writeFileSync(secretFile, `${key.clientSecret}\n`, { mode: 0o600 })
  return { name, key, secretFile, cacheFile: path.join(own, 'cache'), log: [] }
}

export async function startService(
  url: string,
  place: Place,
  options: Options = {},
  answer: http.RequestListener = (_request, response) => response.end('ok'),
): Promise<Service> {
  const health = createHealth()
  const server = http.createServer((request, response) => {
    if (!health.handle(request, response)) answer(request, response)
  })
  server.listen(options.port ?? 0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve())
      server.closeIdleConnections()
    })
  try {
    const house = await joinHaus({
      name: place.name,
      version: '1.0.0',
      url,
      clientId: place.key.clientId,
      clientSecretFile: place.secretFile,
      cacheFile: place.cacheFile,
      health,
      signals: false,
      drain: close,
      ...options,
      port,
      log: (level, message, fields) =>
        place.log.push(JSON.stringify({ level, message, ...fields })),
    })
    return {
      house,
      port,
      server,
      async crash() {
        server.closeAllConnections()
        await close()
        await house.leave()
      },
      [Symbol.asyncDispose]: () => house.leave(),
    }
  } catch (error) {
    await close()
    throw error
  }
}
