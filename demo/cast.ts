/**
 * The services of the demo, and how the demo talks to them: each has a key of its own, made with
 * `haus token issue`, and is started as its operator would start it.
 */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import {
  createClient,
  readSecretFile,
  serviceTokens,
  type ClientKey,
  type HausClient,
} from '@haus/sdk/client'
import { hausCommand, type DemoHouse } from './house.ts'
import { startProgram, type Program } from './programs.ts'

export interface Key {
  readonly service: string
  readonly clientId: string
  readonly secretFile: string
}

/** What a service of the demo says of itself: fingerprints of what it holds, never a secret. */
export interface Report {
  readonly pid: number
  readonly held: Readonly<Record<string, { readonly version: number; readonly print: string }>>
  readonly served: number
}

export interface Cast extends AsyncDisposable {
  readonly house: DemoHouse
  readonly programs: Map<string, Program>
  keyOf(service: string): Promise<Key>
  /** Speaks as that service does, with its own key. */
  as(service: string): Promise<HausClient>
  startOrders(name: string): Promise<Program>
  startBilling(): Promise<Program>
  startFiles(command: string, args: readonly string[]): Promise<Program>
}

const servicesFolder = path.join(import.meta.dirname, 'services')

export function createCast(house: DemoHouse, folder: string): Cast {
  const programs = new Map<string, Program>()
  const keys = new Map<string, Promise<Key>>()

  async function issueKey(service: string): Promise<Key> {
    const secretFile = path.join(folder, `${service}.key`)
    const answer = await house.cli('token', 'issue', service, '--out', secretFile, '--json')
    const { clientId } = JSON.parse(answer) as { readonly clientId: string }
    return { service, clientId, secretFile }
  }

  function keyOf(service: string): Promise<Key> {
    const key = keys.get(service) ?? issueKey(service)
    keys.set(service, key)
    return key
  }

  async function start(
    name: string,
    service: string,
    command: string,
    args: readonly string[],
  ): Promise<Program> {
    const { clientId, secretFile } = await keyOf(service)
    const cwd = path.join(folder, name)
    fs.mkdirSync(cwd, { recursive: true, mode: 0o700 })
    const program = startProgram(command, args, {
      cwd,
      env: { HAUS_URL: house.api, HAUS_CLIENT_ID: clientId, HAUS_CLIENT_SECRET_FILE: secretFile },
    })
    programs.set(name, program)
    return program
  }

  return {
    house,
    programs,
    keyOf,
    async as(service) {
      const { clientId, secretFile } = await keyOf(service)
      const clientSecret = await readSecretFile(secretFile, 'the key of the demo')
      const key = (): Promise<ClientKey> => Promise.resolve({ clientId, clientSecret })
      return createClient({ url: house.api, tokens: serviceTokens({ url: house.api, key }) })
    },
    startOrders: (name) =>
      start(name, 'orders', process.execPath, [path.join(servicesFolder, 'orders.ts')]),
    startBilling: () =>
      start('billing', 'billing', process.execPath, [path.join(servicesFolder, 'billing.ts')]),
    startFiles: (command, args) =>
      start('files', 'files', hausCommand, [
        ...['run', '--name', 'files', '--port', '0', '--health', '/', '--'],
        command,
        ...args,
      ]),
    async [Symbol.asyncDispose]() {
      await Promise.all([...programs.values()].map((program) => program.stop()))
    },
  }
}

/** What can be compared in the open. */
export function fingerprint(secret: string): string {
  return createHash('sha256').update(secret).digest('hex').slice(0, 12)
}

export interface Reply {
  readonly status: number
  readonly text: string
}

const askDeadlineMs = 5_000

/** One request on a connection of its own. @throws when there is no answer. */
export function ask(url: string, headers: Record<string, string> = {}): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(askDeadlineMs)
    const request = http.get(url, { headers, agent: false, signal }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
    })
    request.on('error', reject)
  })
}
