/** A small real HTTP server that answers as a test scripts it, and remembers what it was asked. */
import http from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Asked {
  readonly method: string
  readonly path: string
  readonly headers: http.IncomingHttpHeaders
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into what they sent
  readonly body: any
}

export type Script = (asked: Asked, response: http.ServerResponse) => void | Promise<void>

export interface ScriptedServer extends AsyncDisposable {
  readonly url: string
  readonly port: number
  readonly asked: Asked[]
  /** How many requests had this method and path. */
  count(method: string, path: string): number
  script: Script
  /** Ends every connection and every listener; `open` brings it back at the same port. */
  close(): Promise<void>
  open(): Promise<void>
}

export async function startScriptedServer(script: Script): Promise<ScriptedServer> {
  const asked: Asked[] = []
  let listener: http.Server | undefined
  let port = 0

  async function open(): Promise<void> {
    if (listener) return
    const answer = async (
      request: http.IncomingMessage,
      response: http.ServerResponse,
    ): Promise<void> => {
      const parts: Buffer[] = []
      for await (const part of request) parts.push(part as Buffer)
      const text = Buffer.concat(parts).toString('utf8')
      const entry: Asked = {
        method: request.method ?? '',
        path: request.url ?? '',
        headers: request.headers,
        body: text === '' ? undefined : JSON.parse(text),
      }
      asked.push(entry)
      await server.script(entry, response)
    }
    const next = http.createServer((request, response) => {
      // A request that was cut off is nobody's business here.
      void answer(request, response).catch(() => response.destroy())
    })
    await new Promise<void>((resolve) => next.listen(port, '127.0.0.1', resolve))
    port = (next.address() as AddressInfo).port
    listener = next
  }

  async function close(): Promise<void> {
    const last = listener
    listener = undefined
    if (!last) return
    await new Promise<void>((resolve) => {
      last.close(() => resolve())
      last.closeAllConnections()
    })
  }

  const server: ScriptedServer = {
    get url() {
      return `http://127.0.0.1:${port}`
    },
    get port() {
      return port
    },
    asked,
    count: (method, path) =>
      asked.filter((entry) => entry.method === method && entry.path === path).length,
    script,
    close,
    open,
    [Symbol.asyncDispose]: close,
  }
  await open()
  return server
}

export function json(response: http.ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

export function problem(
  response: http.ServerResponse,
  status: number,
  code: string,
  more: { readonly headers?: Record<string, string>; readonly body?: Record<string, unknown> } = {},
): void {
  response
    .writeHead(status, { 'content-type': 'application/problem+json', ...more.headers })
    .end(JSON.stringify({ code, detail: `Refused: ${code}.`, requestId: 'r-1', ...more.body }))
}
