/**
 * nginx and HAProxy as the distribution ships them, each as one process with one worker that keeps
 * its connections to the upstreams, and writes no log: what they do at their best.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { until } from '../../services/zimmer-13-api-coordinator/src/testing/until.ts'

export interface RunningProxy extends AsyncDisposable {
  readonly name: string
  readonly version: string
  readonly port: number
  readonly pid: number
}

const readyDeadlineMs = 10_000
const upstreamConnections = 128

/** The first line that a program says about its version; null: it is not installed. */
export function versionOf(program: string, ...args: string[]): string | null {
  const { error, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' })
  if (error) return null
  return `${stdout}${stderr}`.split('\n')[0]?.trim() ?? ''
}

export function nginxVersion(): string | null {
  return versionOf('nginx', '-v')?.replace('nginx version: ', '') ?? null
}

export function haproxyVersion(): string | null {
  return versionOf('haproxy', '-v')
}

/** Serves `body` on both ports: the upstream of every proxy, so that it is no part of the answer. */
export function startNginxUpstream(ports: readonly number[], body: string): Promise<RunningProxy> {
  const [port] = ports
  if (port === undefined) throw new Error('An upstream needs a port')
  const listen = ports.map((one) => `listen 127.0.0.1:${one};`).join('\n    ')
  return startNginx('upstream', port, {
    'body.txt': body,
    server: (folder) => `
  server {
    ${listen}
    root ${folder};
    default_type text/plain;
    location / { rewrite ^ /body.txt break; }
  }`,
  })
}

export function startNginxProxy(port: number, upstreams: readonly number[]): Promise<RunningProxy> {
  const servers = upstreams.map((one) => `server 127.0.0.1:${one};`).join('\n    ')
  return startNginx('nginx', port, {
    server: () => `
  upstream rooms {
    random two least_conn;
    ${servers}
    keepalive ${upstreamConnections};
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://rooms;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
    }
  }`,
  })
}

interface NginxFiles {
  readonly 'body.txt'?: string
  readonly server: (folder: string) => string
}

async function startNginx(name: string, port: number, files: NginxFiles): Promise<RunningProxy> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'haus-nginx-'))
  if (files['body.txt'] !== undefined) {
    fs.writeFileSync(path.join(folder, 'body.txt'), files['body.txt'])
  }
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${folder}/${kind};`)
    .join('\n  ')
  const configuration = `
daemon off;
master_process off;
worker_processes 1;
pid ${folder}/pid;
error_log ${folder}/error.log;
events { worker_connections 4096; }
http {
  access_log off;
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  ${temporary}
  ${files.server(folder)}
}
`
  const file = path.join(folder, 'nginx.conf')
  fs.writeFileSync(file, configuration)
  const child = spawn('nginx', ['-c', file, '-p', folder, '-e', `${folder}/error.log`], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  return ready(child, folder, { name, version: nginxVersion() ?? '', port })
}

export async function startHaproxy(
  port: number,
  upstreams: readonly number[],
): Promise<RunningProxy> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'haus-haproxy-'))
  const servers = upstreams
    .map((one, place) => `  server room${place} 127.0.0.1:${one} check inter 10s`)
    .join('\n')
  const file = path.join(folder, 'haproxy.cfg')
  fs.writeFileSync(
    file,
    `
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  option forwardfor
  http-reuse always
frontend front
  bind 127.0.0.1:${port}
  default_backend rooms
backend rooms
  balance random(2)
${servers}
`,
  )
  const child = spawn('haproxy', ['-db', '-q', '-f', file], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  return ready(child, folder, { name: 'HAProxy', version: haproxyVersion() ?? '', port })
}

async function ready(
  child: ChildProcess,
  folder: string,
  about: Pick<RunningProxy, 'name' | 'version' | 'port'>,
): Promise<RunningProxy> {
  const { pid } = child
  const kill = (): void => void child.kill('SIGKILL')
  process.once('exit', kill)
  const dispose = async (): Promise<void> => {
    process.off('exit', kill)
    if (child.exitCode === null && child.signalCode === null) {
      const gone = once(child, 'exit')
      kill()
      await gone
    }
    fs.rmSync(folder, { recursive: true, force: true })
  }
  try {
    if (pid === undefined) throw new Error(`${about.name} could not be spawned`)
    await until(`${about.name} listens`, () => accepts(about.port), readyDeadlineMs)
    return { ...about, pid, [Symbol.asyncDispose]: dispose }
  } catch (error) {
    await dispose()
    throw error
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
