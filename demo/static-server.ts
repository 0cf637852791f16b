/** A program that has never heard of Haus: Python's static server where there is one. */
import { accessSync, constants } from 'node:fs'
import path from 'node:path'

export interface StaticServer {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
}

const content = path.join(import.meta.dirname, 'content')

/** `{port}` is filled in by `haus run`. */
export const staticServer: StaticServer = choose()

function choose(): StaticServer {
  const where = ['--bind', '127.0.0.1', '--directory', content]
  if (isOnPath('python3')) {
    const args = ['-m', 'http.server', '{port}', ...where]
    return { name: "Python's http.server", command: 'python3', args }
  }
  const script = path.join(import.meta.dirname, 'services', 'static.ts')
  return {
    name: 'a static server',
    command: process.execPath,
    args: [script, '{port}', content],
  }
}

function isOnPath(command: string): boolean {
  return (process.env['PATH'] ?? '').split(path.delimiter).some((folder) => {
    try {
      accessSync(path.join(folder, command), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
