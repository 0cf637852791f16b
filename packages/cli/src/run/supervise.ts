/**
 * One program in the house, from its start to its end.
 *
 *   credentials ──► starting ──listens──► joining ──201──► running ──┐
 *                      ▲                                             │ a new version, with restart
 *                      └─────────────────────────────────────────────┘
 *   any of them ──the program ends, or a signal──► leaving ──► its exit code
 *
 * The program has its credentials before it starts, and the house hears of it when it can answer. A
 * signal is told to the house first, so that callers stay away, and then to the program. Whatever
 * happens, the program does not outlive this, and the folder with its credentials is removed.
 */
import type { Credential, CredentialChange, House } from '@haus/sdk'
import type { Child, Ended } from '../platform/child.ts'
import { pause } from '../platform/pause.ts'
import type { CredentialFolder, FileCredential } from './credential-folder.ts'
import { RunFailure } from './run-failure.ts'

export interface Supervised {
  /** The service's name, for sentences. */
  readonly name: string
  /** Now; undefined while the house is away. */
  readonly readCredentials: (signal: AbortSignal) => Promise<readonly FileCredential[] | undefined>
  readonly join: (options: JoinHooks) => Promise<House<unknown>>
  readonly folder: CredentialFolder
  readonly start: (credentials: readonly FileCredential[]) => Promise<Child>
  /** One look. */
  readonly listens: () => Promise<boolean>
  /** For people, such as `127.0.0.1:8080`. */
  readonly where: string
  readonly startTimeoutMs: number
  readonly stopTimeoutMs: number
  readonly onChange: OnChange
  /** The program gets this signal without our help. */
  readonly hasAlready: (signal: NodeJS.Signals) => boolean
  readonly onSignal: (signal: NodeJS.Signals, handle: () => void) => () => void
  readonly note: (sentence: string) => void
}

export interface JoinHooks {
  readonly drain: () => Promise<void>
  readonly drainTimeoutMs: number
}

export type OnChange =
  | { readonly kind: 'files' }
  | { readonly kind: 'signal'; readonly signal: NodeJS.Signals }
  | { readonly kind: 'restart' }

const ending = ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const
const passedOn = ['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const

/** A program that listens is seen within this time. */
const lookAgainMs = 100
/** The house may be away: its lease tells it then. */
const goodbyeMs = 3_000
/** Beside the program's own time. */
const goodbyeMarginMs = 5_000

/** @returns how the program ended. @throws RunFailure */
export async function supervise(options: Supervised): Promise<Ended> {
  const { name, folder, note, onChange, startTimeoutMs, stopTimeoutMs, where } = options
  const stopping = new AbortController()
  let stopSignal: NodeJS.Signals | undefined
  let child: Child | undefined
  let house: House<unknown> | undefined
  /** While a restart is under way, the end of the old program is not the end. */
  let restarting: Promise<void> | undefined
  const known = new Map<string, FileCredential>()

  const unlisten = [
    ...ending.map((signal) =>
      options.onSignal(signal, () => {
        // Who asks twice is in a hurry.
        if (stopSignal !== undefined && !options.hasAlready(signal)) child?.signal(signal)
        stopSignal ??= signal
        stopping.abort()
      }),
    ),
    ...passedOn.map((signal) => options.onSignal(signal, () => child?.signal(signal))),
  ]

  async function stopChild(signal: NodeJS.Signals): Promise<Ended | undefined> {
    if (child === undefined) return undefined
    // Ctrl-C reaches every program of the terminal by itself; a second one would mean more than it.
    if (!options.hasAlready(signal)) child.signal(signal)
    const waiting = new AbortController()
    const late = pause(stopTimeoutMs, waiting.signal).then(() => undefined)
    const ended = await Promise.race([child.ended, late])
    waiting.abort()
    if (ended !== undefined) return ended
    note(`${name} did not end within ${stopTimeoutMs / 1000} s of ${signal}: it is killed.`)
    child.signal('SIGKILL')
    return child.ended
  }

  const stopped = new Promise<'stopped'>((resolve) => {
    stopping.signal.addEventListener('abort', () => resolve('stopped'), { once: true })
  })

  async function join(): Promise<House<unknown>> {
    const joined = await options.join({
      drain: async () => {
        await stopChild(stopSignal ?? 'SIGTERM')
        await deregister()
      },
      drainTimeoutMs: stopTimeoutMs + goodbyeMarginMs,
    })
    joined.on('credentials', changed)
    return joined
  }

  /** Runs the program until it listens. */
  async function launch(): Promise<'listens' | Ended> {
    const running = await options.start([...known.values()])
    child = running
    const waiting = new AbortController()
    const listening = (async () => {
      while (!waiting.signal.aborted) {
        if (await options.listens()) return 'listens' as const
        await pause(lookAgainMs, waiting.signal)
      }
      return 'stopped' as const
    })()
    const late = pause(startTimeoutMs, waiting.signal).then(() => 'late' as const)
    const outcome = await Promise.race([listening, running.ended, stopped, late])
    waiting.abort()
    if (outcome === 'stopped') return (await stopChild(stopSignal ?? 'SIGTERM')) ?? running.ended
    if (outcome !== 'late') return outcome
    await stopChild('SIGTERM')
    throw new RunFailure(
      `${name} did not listen on ${where} within ${startTimeoutMs / 1000} s, so it was stopped.`,
      'See that the program uses that port (it is in PORT), or give it longer with --start-timeout.',
    )
  }

  /** What has changed is written at once; what the program is told is told once for all of it. */
  let writing: Promise<void> = Promise.resolve()
  let telling: Promise<void> = Promise.resolve()
  let queued: Promise<void> | undefined
  async function changed({ name: credential, current }: CredentialChange): Promise<void> {
    const write = writing.then(() => put(credential, current))
    writing = write.then(
      () => {},
      () => {},
    )
    if (!(await write)) return
    if (queued === undefined) {
      // One restart at a time: what comes during it is told after it.
      queued = telling.then(() => {
        queued = undefined
        return tellProgram()
      })
      telling = queued.catch(() => {})
    }
    await queued
  }

  /** @returns whether there was anything new in it */
  async function put(credential: string, current: CredentialChange['current']): Promise<boolean> {
    if (current === null) {
      await folder.remove(credential)
      note(`${credential} is no longer granted to ${name}.`)
      return known.delete(credential)
    }
    const { version } = current
    if (known.get(credential)?.version === version) return false
    const next = valueOf(current)
    await folder.write(next)
    known.set(credential, next)
    note(`${credential} is now version ${version}.`)
    return true
  }

  async function tellProgram(): Promise<void> {
    if (stopSignal !== undefined) return
    if (onChange.kind === 'signal') child?.signal(onChange.signal)
    if (onChange.kind === 'restart') {
      restarting = restart()
      await restarting
    }
  }

  async function restart(): Promise<void> {
    note(`${name} is restarted.`)
    await tellHouse(true)
    await stopChild('SIGTERM')
    if (stopSignal !== undefined) return
    // What comes of it is the program's end, if it is one.
    if ((await launch()) !== 'listens') return
    await tellHouse(false)
  }

  async function tellHouse(draining: boolean): Promise<void> {
    const id = house?.instance?.id
    if (id === undefined) return
    await house?.client
      .call('updateInstance', { params: { name, id }, body: { draining } })
      .catch(() => note('The house was not told of the restart.'))
  }

  /** The end of the program that is not followed by another one. */
  async function finalEnd(): Promise<Ended> {
    for (;;) {
      const current = child
      if (current === undefined) throw new Error('no program has been started')
      const ended = await current.ended
      if (restarting !== undefined) {
        const under = restarting
        await under
        if (restarting === under) restarting = undefined
      }
      if (child === current) return ended
    }
  }

  try {
    const first = await options.readCredentials(stopping.signal)
    if (stopSignal !== undefined) return { exitCode: null, signal: stopSignal }
    if (first === undefined) {
      // The house is away: what it said last is in the cache of the SDK, or it is waited for.
      const early = join()
      early.catch(() => {})
      const outcome = await Promise.race([early, stopped])
      if (outcome === 'stopped') return { exitCode: null, signal: stopSignal ?? 'SIGTERM' }
      house = outcome
    }
    for (const credential of first ?? (house === undefined ? [] : valuesOf(house))) {
      await folder.write(credential)
      known.set(credential.name, credential)
    }

    const launched = await launch()
    if (launched !== 'listens') {
      if (stopSignal === undefined) {
        note(`${name} ended before it listened on ${where}, ${endText(launched)}.`)
      }
      return launched
    }

    if (house === undefined) {
      const joining = join()
      const outcome = await Promise.race([joining, stopped, finalEnd()])
      if (outcome === 'stopped' || 'exitCode' in outcome) {
        // A registration under way may still succeed: it must not outlive the program.
        void joining.then((late) => late.leave()).catch(() => {})
        return (await stopChild(stopSignal ?? 'SIGTERM')) ?? finalEnd()
      }
      house = outcome
    }
    // A version that came between the reading and the registration.
    for (const credential of house.credentialNames) {
      await changed({ name: credential, current: house.credential(credential), previous: null })
    }
    note(
      house.instance === undefined
        ? `${name} runs at ${where}, and moves in when the house is back.`
        : `${name} is in the house: ${where}.`,
    )

    const outcome = await Promise.race([stopped, finalEnd()])
    if (outcome === 'stopped') {
      await house.leave()
      return await finalEnd()
    }
    note(`${name} ended ${endText(outcome)}.`)
    await deregister()
    return outcome
  } finally {
    stopSignal ??= 'SIGTERM'
    await stopChild('SIGTERM')
    await house?.leave()
    for (const stop of unlisten) stop()
  }

  /**
   * The goodbye. It may be said twice, and is said again while the house is too busy to take it: an
   * instance that stays in the book is sent requests that nobody answers.
   */
  async function deregister(): Promise<void> {
    const { client, instance } = house ?? {}
    if (client === undefined || instance === undefined) return
    const { id, incarnation } = instance
    const deadline = AbortSignal.timeout(goodbyeMs)
    for (;;) {
      try {
        await client.call('deregisterInstance', {
          params: { name, id },
          query: { incarnation },
          signal: deadline,
        })
        return
      } catch (error) {
        const busy = error instanceof Error && 'status' in error && error.status === 503
        if (!busy || deadline.aborted) {
          note('The house was not told of the end; it will notice.')
          return
        }
        await pause(lookAgainMs, deadline)
      }
    }
  }
}

function endText({ exitCode, signal }: Ended): string {
  return signal === null ? `with exit code ${exitCode}` : `by ${signal}`
}

function valuesOf(house: House<unknown>): FileCredential[] {
  return house.credentialNames.map((name) => valueOf(house.credential(name)))
}

function valueOf(credential: Credential): FileCredential {
  const { name, version, expiresAt } = credential
  return { name, version, expiresAt, data: credential.reveal() }
}
