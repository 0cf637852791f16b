/**
 * A real PostgreSQL 16 for tests: started in a temporary folder, killed and restarted at will,
 * and gone when the process that started it is gone, however that ended.
 *
 * It does not pretend: durable servers sync for real, authentication is SCRAM as in production.
 * It refuses to share a port or a folder with anything else.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { chown, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import {
  findPostgresBinaries,
  privateFolder,
  serverAccount,
  type Account,
} from './postgres-binaries.ts'

export { postgresUnavailable } from './postgres-binaries.ts'

export type PostgresOptions = {
  /** fsync on, as in production. Off by default, which makes the suite several times faster. */
  readonly durable?: boolean
  /** Default: a free one. */
  readonly port?: number
}

export type PostgresServer = {
  /** Superuser connection to the database `postgres`. */
  readonly url: string
  readonly port: number
  readonly dataDir: string
  /** Folder of the Unix socket; undefined when its path would be too long for one. */
  readonly socketDir: string | undefined
  /** The postmaster now; changes with every restart; undefined while it is down. */
  readonly pid: number | undefined
  /** Stops the server and deletes its folder. */
  stop(): Promise<void>
  /** SIGKILL to the postmaster and all its children: what acknowledged commits must survive. */
  kill9(): Promise<void>
  /** Starts again on the same folder and port; a running server is stopped cleanly first. */
  restart(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Below the ephemeral range, so that no client socket sits on the port during a restart. */
const lowestPort = 20_000
const highestPort = 32_000
/** One attempt is enough unless a port is taken; more than 20 in a row means another cause. */
const portAttempts = 20
/** A cold start takes 0.1 s, recovery after kill -9 up to 1 s; the rest is for a busy machine. */
const startDeadlineMs = 60_000
const stopDeadlineMs = 30_000
/** A Unix socket path holds 107 bytes; PostgreSQL appends `/.s.PGSQL.<port>.lock`. */
const socketFolderLimitBytes = 80
/** Enough of the server's log to explain a failure. */
const logLimitChars = 64 * 1024

export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  const account = serverAccount()
  const bin = await findPostgresBinaries(account)
  const folder = await privateFolder(account)
  const watchdog = startWatchdog(folder, account)
  const dataDir = path.join(folder, 'data')
  const password = randomBytes(18).toString('base64url')
  const durable = options.durable ?? false

  try {
    await createCluster({ bin, account, folder, dataDir, password, durable, watchdog })
    const cluster = { bin, account, folder, dataDir, durable, watchdog }
    let running: Running | undefined
    let port = options.port ?? randomPort()
    for (let attempt = 1; running === undefined; attempt += 1) {
      try {
        running = await launch(cluster, port)
      } catch (error) {
        const retry = error instanceof PortTaken && options.port === undefined
        if (!retry || attempt === portAttempts) throw error
        port = randomPort()
      }
    }
    return new Server(cluster, port, password, running)
  } catch (error) {
    watchdog.stdin?.end()
    await rm(folder, { recursive: true, force: true })
    throw error
  }
}

type Cluster = {
  readonly bin: string
  readonly account: Account
  readonly folder: string
  readonly dataDir: string
  readonly durable: boolean
  readonly watchdog: ChildProcess
}

type Running = { readonly process: ChildProcess; readonly pid: number }

class PortTaken extends Error {}
/** Shared memory of a killed predecessor is still attached: passes within milliseconds. */
class PredecessorAlive extends Error {}

class Server implements PostgresServer {
  readonly url: string
  readonly port: number
  readonly dataDir: string
  readonly socketDir: string | undefined
  readonly #cluster: Cluster
  #running: Running | undefined

  constructor(cluster: Cluster, port: number, password: string, running: Running) {
    this.#cluster = cluster
    this.#running = running
    this.port = port
    this.dataDir = cluster.dataDir
    this.socketDir = socketFolder(cluster.folder)
    this.url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`
  }

  get pid(): number | undefined {
    return this.#running?.pid
  }

  async stop(): Promise<void> {
    await this.#stopCleanly()
    const { watchdog, folder } = this.#cluster
    watchdog.stdin?.end()
    await rm(folder, { recursive: true, force: true })
  }

  async kill9(): Promise<void> {
    const running = this.#take()
    if (running === undefined) return
    // Stopped first: a postmaster that still forks could leave a child behind.
    sendSignal(running.pid, 'SIGSTOP')
    const children = childrenOf(running.pid)
    const gone = exited(running.process)
    sendSignal(running.pid, 'SIGKILL')
    for (const pid of children) sendSignal(pid, 'SIGKILL')
    await gone
    await deadWithin(children, stopDeadlineMs)
  }

  async restart(): Promise<void> {
    await this.#stopCleanly()
    const deadline = performance.now() + startDeadlineMs
    while (this.#running === undefined) {
      try {
        this.#running = await launch(this.#cluster, this.port)
      } catch (error) {
        const passing = error instanceof PredecessorAlive || error instanceof PortTaken
        if (!passing || performance.now() > deadline) throw error
        await delay(20)
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  #take(): Running | undefined {
    const running = this.#running
    this.#running = undefined
    // The number may be another process's by the time the watchdog acts.
    if (running !== undefined) tellWatchdog(this.#cluster.watchdog, undefined)
    return running
  }

  async #stopCleanly(): Promise<void> {
    const running = this.#take()
    if (running === undefined) return
    const gone = exited(running.process)
    // "Fast": open connections are ended. A stopped postmaster has to be woken to obey.
    sendSignal(running.pid, 'SIGINT')
    sendSignal(running.pid, 'SIGCONT')
    const timer = setTimeout(() => sendSignal(running.pid, 'SIGQUIT'), stopDeadlineMs)
    await gone
    clearTimeout(timer)
  }
}

function randomPort(): number {
  return randomInt(lowestPort, highestPort)
}

function socketFolder(folder: string): string | undefined {
  return Buffer.byteLength(folder) <= socketFolderLimitBytes ? folder : undefined
}

async function createCluster(cluster: Cluster & { readonly password: string }): Promise<void> {
  const { bin, account, folder, dataDir, durable, watchdog } = cluster
  const passwordFile = path.join(folder, 'password')
  await writeFile(passwordFile, cluster.password, { mode: 0o600 })
  if (account !== undefined) await chown(passwordFile, account.uid, account.gid)
  const initdbArguments = ['-D', dataDir, '-U', 'postgres', '-E', 'UTF8', '--locale=C']
  initdbArguments.push('-A', 'scram-sha-256', `--pwfile=${passwordFile}`, '--no-instructions')
  // One iteration instead of 4,096: the tests open thousands of connections.
  initdbArguments.push('-c', 'scram_iterations=1')
  if (!durable) initdbArguments.push('--no-sync')
  const initdb = spawn(path.join(bin, 'initdb'), initdbArguments, {
    ...account,
    cwd: folder,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: plainEnv(),
  })
  tellWatchdog(watchdog, initdb.pid)
  const log = collectLog(initdb)
  const [code] = await once(initdb, 'close')
  if (code !== 0) throw new Error(`initdb ended with ${String(code)}: ${log()}`)
}

/** PostgreSQL itself binds the port: no time passes between finding it free and having it. */
async function launch(cluster: Cluster, port: number): Promise<Running> {
  const { bin, account, folder, dataDir, durable, watchdog } = cluster
  const sync = durable ? 'on' : 'off'
  const settings = {
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: socketFolder(folder) ?? '',
    max_connections: '200',
    shared_buffers: '32MB',
    fsync: sync,
    full_page_writes: sync,
    // On in both: a process crash must not lose what was acknowledged, only a power cut may.
    synchronous_commit: 'on',
    lc_messages: 'C',
    log_min_messages: 'warning',
  }
  const serverArguments = Object.entries(settings).flatMap(([key, value]) => [
    '-c',
    `${key}=${value}`,
  ])
  const server = spawn(path.join(bin, 'postgres'), ['-D', dataDir, ...serverArguments], {
    ...account,
    cwd: folder,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: plainEnv(),
  })
  tellWatchdog(watchdog, server.pid)
  const log = collectLog(server)
  const { promise: ready, resolve: becomeReady } = Promise.withResolvers<'ready'>()
  server.stderr?.on('data', () => {
    if (log().includes('database system is ready to accept connections')) becomeReady('ready')
  })
  const timer = setTimeout(() => server.kill('SIGQUIT'), startDeadlineMs)
  const outcome = await Promise.race([ready, exited(server)])
  clearTimeout(timer)
  if (outcome === 'ready' && server.pid !== undefined) {
    // A test file that never calls stop() must still be able to end; the watchdog cleans up.
    server.unref()
    const { stderr } = server
    if (stderr !== null && 'unref' in stderr && typeof stderr.unref === 'function') stderr.unref()
    return { process: server, pid: server.pid }
  }
  const said = log()
  if (/Address already in use/.test(said)) throw new PortTaken(`port ${port} is taken`)
  if (/pre-existing shared memory|is another postmaster/i.test(said)) {
    throw new PredecessorAlive(said)
  }
  throw new Error(`PostgreSQL did not start: ${said}`)
}

function collectLog(child: ChildProcess): () => string {
  let text = ''
  const add = (chunk: string): void => {
    text = (text + chunk).slice(-logLimitChars)
  }
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', add)
  child.on('error', (error) => add(error.message))
  return () => text.trim()
}

/** Resolves when the process is gone, also when it went before or never came to be. */
async function exited(child: ChildProcess): Promise<'exited'> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) {
    return 'exited'
  }
  child.ref()
  await once(child, 'exit')
  return 'exited'
}

/** PostgreSQL reads PG* variables and locale; the caller's must not change a test. */
function plainEnv(): NodeJS.ProcessEnv {
  return { LC_ALL: 'C', TZ: 'UTC', PATH: process.env['PATH'] }
}

/**
 * A shell that reads its input, which ends with this process even on kill -9. It remembers the
 * last server it was told of, ends it at once and deletes the folder. It has a session of its
 * own, so that Ctrl-C in a terminal does not end it first.
 */
function startWatchdog(folder: string, account: Account): ChildProcess {
  const script = `
    trap '' HUP INT TERM
    while read -r line; do pid=$line; done
    # A zombie is gone too: in a container nobody may ever reap it.
    alive() { [ -n "$pid" ] && grep -q '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$pid/status"; }
    alive && kill -QUIT "$pid" && kill -CONT "$pid"
    n=0
    while alive && [ $n -lt 100 ]; do n=$((n + 1)); sleep 0.1; done
    alive && kill -KILL "$pid"
    rm -rf "$1"
  `
  const child = spawn('/bin/sh', ['-c', script, 'sh', folder], {
    ...account,
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    env: plainEnv(),
  })
  child.stdin.on('error', () => {})
  child.unref()
  const { stdin } = child
  if ('unref' in stdin && typeof stdin.unref === 'function') stdin.unref()
  return child
}

function tellWatchdog(watchdog: ChildProcess, pid: number | undefined): void {
  watchdog.stdin?.write(`${pid ?? ''}\n`)
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .split(' ')
    .filter(Boolean)
    .map(Number)
}

async function deadWithin(pids: readonly number[], limitMs: number): Promise<void> {
  const deadline = performance.now() + limitMs
  while (pids.some(isAlive)) {
    if (performance.now() > deadline) throw new Error(`PostgreSQL children survive SIGKILL`)
    await delay(2)
  }
}

/** A zombie counts as dead: in a container nobody may ever reap it. */
function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}
