/**
 * The real house as a child process: `main.ts` started as an operator would start it, over a data
 * folder of its own, watched from outside only. What it says about itself comes from its files,
 * its streams and its API.
 *
 * A house that brings no place to live gets one in which the empty, migrated database is already
 * there, since making it is a third of a first start: on the PostgreSQL of the run, where a house is
 * open a quarter sooner, else embedded. Everything else is made by the house itself; tests of the
 * first start, or of what the embedded database does, bring a folder.
 *
 * The environment is made afresh: no HAUS_* of the caller leaks in, since an unknown one is fatal.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { migrations } from '../services/zimmer-13-api-coordinator/src/migrations/index.ts'
import { inheritedCompilerFlags } from '../services/zimmer-13-api-coordinator/src/testing/child-program.ts'
import {
  cloneDatabase,
  cloneDataDir,
} from '../services/zimmer-13-api-coordinator/src/testing/databases.ts'
import { createClient, type HouseClient } from './client.ts'
import { plainEnvironment } from './plain-environment.ts'

export const repositoryRoot = path.resolve(import.meta.dirname, '..')
const mainFile = path.join(repositoryRoot, 'services/zimmer-13-api-coordinator/src/main.ts')

/** A first start takes 1-2 s on two idle cores; the rest is for a machine that runs other tests. */
const readyDeadlineMs = 60_000
/** The house promises 5 s; beyond this it is ended by force, so that no test hangs on it. */
const stopDeadlineMs = 15_000
const lookAgainAfterMs = 10
/** Enough to explain a failure; a house that logs in a loop must not fill the test's memory. */
const outputLimitChars = 4 * 1024 * 1024

export interface HouseOptions {
  /** Default: a new temporary folder, deleted by `dispose`, as is its database. */
  readonly dataDir?: string | undefined
  /** Absent, and with a folder: the embedded database in it. */
  readonly databaseUrl?: string | undefined
  /** More HAUS_* variables; they win over the defaults here. */
  readonly env?: Readonly<Record<string, string>>
  /** Where its log goes: a descriptor. Default: kept, for `stdout()`. */
  readonly logTo?: number
  /** Runs it as another user, which only root may. */
  readonly account?: { readonly uid: number; readonly gid: number } | undefined
}

export interface Ended {
  readonly exitCode: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  readonly durationMs: number
}

export interface House extends AsyncDisposable {
  readonly pid: number
  readonly dataDir: string
  /** Of the API, as the house itself names it. */
  readonly url: string
  readonly endpoints: Readonly<Record<string, string>>
  readonly operatorToken: string
  /** Speaks with the operator's token. */
  readonly operator: HouseClient
  /** From spawn to the first 200 of `/health/ready`. */
  readonly readyMs: number
  /** A client with another token, or with none. */
  as(token: string | undefined): HouseClient
  stdout(): string
  stderr(): string
  signal(signal: NodeJS.Signals): void
  readonly ended: Promise<Ended>
  /** SIGTERM, and the end. */
  stop(): Promise<Ended>
  kill9(): Promise<Ended>
}

/** Starts a house and waits until it serves. @throws with its output when it ends before that. */
export async function startHouse(options: HouseOptions = {}): Promise<House> {
  const place = await placeOf(options)
  const { dataDir } = place
  // A killed house leaves its own behind: the port in it may be anybody's by now.
  fs.rmSync(path.join(dataDir, 'endpoints.json'), { force: true })
  const startedMs = performance.now()
  const running = spawnHouse({ ...options, ...place })
  const { child, pid } = running
  try {
    const endpoints = await waitForEndpoints(dataDir, running, startedMs)
    const url = endpoints['api']
    if (url === undefined)
      throw new Error(`endpoints.json names no api: ${JSON.stringify(endpoints)}`)
    await waitUntilReady(url, running, startedMs)
    const readyMs = performance.now() - startedMs
    const operatorToken = fs.readFileSync(path.join(dataDir, 'operator.token'), 'utf8').trim()
    const end = async (signal: NodeJS.Signals): Promise<Ended> => {
      child.kill(signal)
      const timer = setTimeout(() => child.kill('SIGKILL'), stopDeadlineMs)
      const ended = await running.ended
      clearTimeout(timer)
      return ended
    }
    return {
      pid,
      dataDir,
      url,
      endpoints,
      operatorToken,
      operator: createClient(url, operatorToken),
      readyMs,
      as: (token) => createClient(url, token),
      stdout: running.stdout,
      stderr: running.stderr,
      signal: (signal) => void child.kill(signal),
      ended: running.ended,
      stop: () => end('SIGTERM'),
      kill9: () => end('SIGKILL'),
      [Symbol.asyncDispose]: async () => {
        await end('SIGKILL')
        await place.remove()
      },
    }
  } catch (error) {
    child.kill('SIGKILL')
    await running.ended
    await place.remove()
    throw error
  }
}

interface Place {
  readonly dataDir: string
  readonly databaseUrl: string | undefined
  /** What was made for it. */
  remove(): Promise<void>
}

async function placeOf({ dataDir, databaseUrl }: HouseOptions): Promise<Place> {
  if (dataDir !== undefined) return { dataDir, databaseUrl, remove: async () => {} }
  if (databaseUrl !== undefined) return removable(temporaryFolder(), databaseUrl)
  const isRunOfTests = process.env['HAUS_TEST_POSTGRES_URL'] !== undefined
  if (!isRunOfTests) return removable(await folderWithDatabase())
  const { url, drop } = await cloneDatabase(migrations)
  return removable(temporaryFolder(), url, drop)
}

function removable(dataDir: string, databaseUrl?: string, drop?: () => Promise<void>): Place {
  const remove = async (): Promise<void> => {
    fs.rmSync(dataDir, { recursive: true, force: true })
    await drop?.()
  }
  return { dataDir, databaseUrl, remove }
}

/** Starts a house that is expected to refuse, or that is killed while it opens; tells how it ended. */
export async function attemptStart(
  options: HouseOptions & { readonly dataDir: string },
  killAfterMs = readyDeadlineMs,
): Promise<Ended> {
  const { child, ended } = spawnHouse(options)
  const timer = setTimeout(() => child.kill('SIGKILL'), killAfterMs)
  const outcome = await ended
  clearTimeout(timer)
  return outcome
}

export function temporaryFolder(): string {
  return fs.mkdtempSync(path.join(tmpdir(), 'haus-e2e-'))
}

/** A temporary folder in which the embedded database lies, migrated and empty: a house moves in sooner. */
export function folderWithDatabase(): Promise<string> {
  return cloneDataDir(migrations)
}

interface Running {
  readonly child: ChildProcess
  readonly pid: number
  readonly ended: Promise<Ended>
  readonly stdout: () => string
  readonly stderr: () => string
}

function spawnHouse(options: HouseOptions & { readonly dataDir: string }): Running {
  const startedMs = performance.now()
  const child = spawn(process.execPath, [...inheritedCompilerFlags(), mainFile], {
    cwd: repositoryRoot,
    env: houseEnvironment(options),
    stdio: ['ignore', options.logTo ?? 'pipe', 'pipe'],
    ...options.account,
  })
  const { pid } = child
  if (pid === undefined) throw new Error('The house could not be spawned')
  // Dies with the test, unless that is killed itself: then the runner ends the whole group.
  const killAtExit = (): void => void child.kill('SIGKILL')
  process.once('exit', killAtExit)
  const stdout = collect(child.stdout)
  const stderr = collect(child.stderr)
  const ended = once(child, 'close').then(([exitCode, signal]): Ended => {
    process.off('exit', killAtExit)
    return {
      exitCode,
      signal,
      stdout: stdout(),
      stderr: stderr(),
      durationMs: performance.now() - startedMs,
    }
  })
  return { child, pid, ended, stdout, stderr }
}

export function houseEnvironment(
  options: HouseOptions & { readonly dataDir: string },
): Record<string, string> {
  return {
    ...plainEnvironment(),
    TZ: 'UTC',
    HAUS_DATA_DIR: options.dataDir,
    HAUS_API_ADDR: '127.0.0.1:0',
    HAUS_GATEWAY_ADDR: '127.0.0.1:0',
    ...(options.databaseUrl === undefined ? {} : { HAUS_DATABASE_URL: options.databaseUrl }),
    ...options.env,
  }
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  // Pieces, joined when asked for: a house that logs 6 MB/s would otherwise have all that is kept
  // copied with each of them, on the cores that a benchmark measures on.
  const pieces: string[] = []
  let chars = 0
  stream?.setEncoding('utf8')
  stream?.on('data', (piece: string) => {
    pieces.push(piece)
    chars += piece.length
    while (chars - (pieces[0]?.length ?? 0) > outputLimitChars) chars -= pieces.shift()?.length ?? 0
  })
  return () => pieces.join('').slice(-outputLimitChars)
}

async function waitForEndpoints(
  dataDir: string,
  running: Running,
  startedMs: number,
): Promise<Record<string, string>> {
  const file = path.join(dataDir, 'endpoints.json')
  return poll('endpoints.json', running, startedMs, () => {
    try {
      return JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, string>
    } catch {
      // Not there yet.
      return undefined
    }
  })
}

async function waitUntilReady(url: string, running: Running, startedMs: number): Promise<void> {
  const anonymous = createClient(url, undefined)
  await poll('/health/ready', running, startedMs, async () => {
    const answer = await anonymous.request('GET', '/health/ready').catch(() => undefined)
    return answer?.status === 200 ? true : undefined
  })
}

async function poll<T>(
  what: string,
  running: Running,
  startedMs: number,
  look: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  let ended: Ended | undefined
  void running.ended.then((value) => {
    ended = value
  })
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    const story = (): string => `${running.stdout()}\n${running.stderr()}`.slice(-4000)
    if (ended !== undefined) {
      const how = ended.signal ?? `exit code ${ended.exitCode}`
      throw new Error(`The house ended with ${how} before ${what} was there:\n${story()}`)
    }
    if (performance.now() - startedMs > readyDeadlineMs) {
      throw new Error(`Waited ${readyDeadlineMs} ms for ${what}:\n${story()}`)
    }
    await delay(lookAgainAfterMs)
  }
}
