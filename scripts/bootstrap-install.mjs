// The slow half of bootstrap.mjs: installs what is missing with the npm that called us.
//
// One installation at a time per folder; the others wait and look again. An installation that was
// interrupted is never taken for complete: npm writes node_modules/.package-lock.json last. A
// tree that is in use is added to in place; only when there is none does `npm ci` make it.
import { spawn, execFileSync } from 'node:child_process'
import { accessSync, constants, existsSync, statSync, unlinkSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import path from 'node:path'

/** Somebody else's installation over a slow line; past this it hangs. */
const lockTimeoutMs = 15 * 60_000
/** After SIGTERM npm puts back what it had replaced. A tree that was not there before needs none of that. */
const npmGraceMs = { ci: 1_000, install: 10_000 }
/** How long an orphan goes on after the npm that wanted it is gone. */
const orphanCheckMs = 500
/** The end of npm's output holds its error. */
const outputLimitChars = 64 * 1024

class Refusal extends Error {}

/** @typedef {ReturnType<typeof import('./bootstrap.mjs').inspect>} State */

/**
 * @param {string} root
 * @param {string} mode
 * @param {() => State} look what is installed now
 * @returns {Promise<number>} the exit code
 */
export async function install(root, mode, look) {
  try {
    const before = look()
    if (!before.supported) {
      throw new Refusal(
        `Haus runs on Node ${before.nodeVersion}, which it brings along for Linux (x64 and arm64, glibc) and macOS, ` +
          `but this is ${before.platform}: use the container image or one of those systems.`,
      )
    }
    checkWritable(root)
    const lock = await takeLock(root)
    try {
      return await installUnderLock(root, mode, look, lock)
    } finally {
      lock.close()
    }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    process.stderr.write(`${error.message}\n`)
    return 1
  }
}

/** @param {string} root @param {string} mode @param {() => State} look @param {Lock} lock */
async function installUnderLock(root, mode, look, lock) {
  const state = look()
  // The one who held the lock before us may have done it all.
  if (state.missing === undefined) return 0

  const onTerminal = process.stderr.isTTY
  if (onTerminal)
    process.stderr.write(`Installing what npm ${npmCommand(mode)} needs: ${state.missing}\n`)

  const outcome = await runNpm(root, npmArguments(mode, state), lock, onTerminal)
  if (outcome.interruptedBy !== undefined) return outcome.interruptedBy
  if (outcome.exitCode !== 0) {
    if (!onTerminal) process.stderr.write(outcome.output)
    throw new Refusal(explain(outcome.output, outcome.exitCode, mode))
  }

  const { missing, nodeVersion } = look()
  if (missing !== undefined) {
    throw new Refusal(
      `npm reported success, yet ${missing} (Haus runs on Node ${nodeVersion}, an optional dependency): run npm ci --include=optional`,
    )
  }
  checkNodeRuns(root, nodeVersion)
  return 0
}

/** As it is typed after `npm`. @param {string} mode */
function npmCommand(mode) {
  return mode === 'start' || mode === 'test' ? mode : `run ${mode}`
}

/** @param {string} mode @param {State} state */
function npmArguments(mode, state) {
  // `npm ci` empties node_modules first, also when it then cannot reach the registry: fine for a
  // fresh clone, not under a house that is running from this folder.
  const command = state.nothingInstalled ? ['ci'] : ['install', '--no-save']
  const development = mode !== 'start' || state.developmentInstalled
  return [
    ...command,
    '--include=prod',
    '--include=optional',
    '--include=peer',
    development ? '--include=dev' : '--omit=dev',
    // Warnings about packages that dislike the Node npm runs on: they will run on Node 26.
    '--loglevel=error',
    '--no-audit',
    '--no-fund',
  ]
}

/** @param {string} root */
function checkWritable(root) {
  for (const folder of [root, path.join(root, 'node_modules')]) {
    if (!existsSync(folder)) continue
    try {
      accessSync(folder, constants.W_OK)
    } catch (error) {
      const mend =
        codeOf(error) === 'EROFS'
          ? 'it is on a read-only file system: run npm ci where it can be written'
          : `${userName()} may not write there: run npm as its owner, or change the owner`
      throw new Refusal(`Packages must be installed into ${folder}, but ${mend}.`)
    }
  }
}

/** @param {unknown} error */
function codeOf(error) {
  return error instanceof Error && 'code' in error ? error.code : undefined
}

function userName() {
  try {
    return `the user ${userInfo().username}`
  } catch {
    return `uid ${process.getuid?.()}`
  }
}

/**
 * @param {string} root @param {string[]} npmArgs @param {Lock} lock @param {boolean} onTerminal
 * @returns {Promise<{ exitCode: number | null, output: string, interruptedBy: number | undefined }>}
 */
async function runNpm(root, npmArgs, lock, onTerminal) {
  const npm = findNpm()
  // The child keeps the lock too: when this process is killed, npm goes on for a moment.
  const inherited = lock.fd === undefined ? [] : [lock.fd]
  const child = spawn(npm.command, [...npm.args, ...npmArgs], {
    cwd: root,
    env: cleanEnvironment(process.env),
    stdio: ['ignore', 'pipe', 'pipe', ...inherited],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (/** @type {string} */ chunk) => {
      output = (output + chunk).slice(-outputLimitChars)
      // Never to stdout: that belongs to the program about to start.
      if (onTerminal) process.stderr.write(chunk)
    })
  }

  /** @type {number | undefined} */
  let interruptedBy
  /** @param {number} code */
  const stop = (code) => {
    if (interruptedBy !== undefined) return
    interruptedBy = code
    child.kill('SIGTERM')
    const graceMs = npmArgs[0] === 'ci' ? npmGraceMs.ci : npmGraceMs.install
    setTimeout(() => child.kill('SIGKILL'), graceMs).unref()
  }
  process.on('SIGHUP', () => stop(129))
  process.on('SIGINT', () => stop(130))
  process.on('SIGTERM', () => stop(143))
  const stopWatching = whenOrphaned(() => stop(143))

  return new Promise((resolve) => {
    child.on('error', (error) => {
      stopWatching()
      resolve({ exitCode: 127, output: `${output}${error.message}\n`, interruptedBy })
    })
    child.on('close', (exitCode) => {
      stopWatching()
      resolve({ exitCode, output, interruptedBy })
    })
  })
}

/**
 * npm passes a signal on to the shell between us and it; when that dies, nobody tells us.
 * @param {() => void} then
 */
function whenOrphaned(then) {
  const parent = process.ppid
  const watch = setInterval(() => process.ppid !== parent && then(), orphanCheckMs)
  watch.unref()
  return () => clearInterval(watch)
}

/** The npm that runs this script, on the Node it runs on; ours may be about to be replaced. */
function findNpm() {
  const script = process.env['npm_execpath']
  if (!script || !/npm(-cli)?\.c?js$/.test(script)) {
    return { command: 'npm', args: [] }
  }
  return { command: process.env['npm_node_execpath'] ?? process.execPath, args: [script] }
}

/**
 * npm hands its whole configuration to scripts in the environment. What was meant for the outer
 * command (`npm start --omit=dev`, `NODE_ENV=production`, `-w name`, `--dry-run`) must not decide
 * what is installed; where packages come from (registry, proxy, cache, offline) stays.
 * @param {NodeJS.ProcessEnv} env
 */
function cleanEnvironment(env) {
  const dropped =
    /^npm_config_(omit|include|production|only|also|dev|optional|global|location|workspaces?|include_workspace_root|dry_run|package_lock|package_lock_only|json|parseable|long|if_present|save.*|install_strategy|install_links|prefer_dedupe|legacy_bundling|global_style)$/
  return Object.fromEntries(
    Object.entries(env).filter(
      ([name]) => name !== 'NODE_ENV' && !dropped.test(name.toLowerCase().replaceAll('-', '_')),
    ),
  )
}

/** @param {string} output @param {number | null} exitCode @param {string} mode */
function explain(output, exitCode, mode) {
  const again = `then run npm ${npmCommand(mode)} again.`
  if (
    /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED|EIDLETIMEOUT|ERR_SOCKET_TIMEOUT)\b/.test(
      output,
    )
  ) {
    return `The package registry cannot be reached and npm's cache does not hold everything: connect to the network, or set npm's registry or proxy, ${again}`
  }
  if (/\bENOSPC\b/.test(output)) return `The disk is full: free about 600 MB, ${again}`
  if (/\bEUSAGE\b/.test(output)) {
    return 'package.json and package-lock.json do not agree: run npm install and commit the lockfile.'
  }
  if (/\bEINTEGRITY\b/.test(output)) {
    return `A package differs from what package-lock.json pins: run npm cache verify, ${again}`
  }
  if (/\b(EACCES|EPERM|EROFS)\b/.test(output)) {
    return `npm may not write a folder it names above: make it writable, or set npm_config_cache for the cache, ${again}`
  }
  if (/\bE40[134]\b|\bETARGET\b/.test(output)) {
    return `The package registry refuses or lacks a package named above: check npm's registry setting, ${again}`
  }
  return `Installing failed (npm ended with ${exitCode ?? 'a signal'}, see above): mend that, ${again}`
}

/** @param {string} root @param {string | undefined} nodeVersion */
function checkNodeRuns(root, nodeVersion) {
  const binary = path.join(root, 'node_modules', '.bin', 'node')
  try {
    const env = { ...process.env, NODE_OPTIONS: '' }
    const said = execFileSync(binary, ['--version'], { encoding: 'utf8', env }).trim()
    if (said === `v${nodeVersion}`) return
    throw new Refusal(
      `${binary} is Node ${said}, not ${nodeVersion}: run npm ci --include=optional`,
    )
  } catch (error) {
    if (error instanceof Refusal) throw error
    throw new Refusal(
      `Node ${nodeVersion} is installed but does not run here (${error instanceof Error ? error.message.trim() : String(error)}): it needs glibc 2.28 or newer and a folder from which programs may be run.`,
    )
  }
}

/** @typedef {{ fd: number | undefined, close: () => void }} Lock */

/**
 * A listening socket: the kernel frees it with its last holder, also on kill -9. On Linux it has
 * an abstract name, elsewhere a file in the temporary folder, which a dead holder leaves behind
 * and the next one replaces.
 * @param {string} root
 * @returns {Promise<Lock>}
 */
async function takeLock(root) {
  const { dev, ino } = statSync(root)
  const name = `haus-install-${dev}-${ino}`
  const address = process.platform === 'linux' ? `\0${name}` : path.join(tmpdir(), `${name}.sock`)
  const deadline = Date.now() + lockTimeoutMs
  const stopWatching = whenOrphaned(() => process.exit(143))
  let told = false
  while (true) {
    const lock = await listen(address)
    if (lock !== undefined) {
      stopWatching()
      return lock
    }
    if (Date.now() > deadline) {
      throw new Refusal(
        'Another installation in this folder does not end: stop that npm process, then try again.',
      )
    }
    if (process.stderr.isTTY && !told) {
      process.stderr.write('Waiting for another installation in this folder\n')
    }
    told = true
    await holderGone(address, deadline)
  }
}

/** @param {string} address @returns {Promise<Lock | undefined>} */
function listen(address) {
  /** @type {Set<import('node:net').Socket>} */
  const waiting = new Set()
  const server = createServer((socket) => {
    // Held open until the lock is free; that it closes is all a waiting one wants to know.
    waiting.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => waiting.delete(socket))
  })
  return new Promise((resolve, reject) => {
    server.once('error', (/** @type {NodeJS.ErrnoException} */ error) => {
      if (error.code === 'EADDRINUSE') resolve(undefined)
      else reject(error)
    })
    server.listen(address, () => {
      // Not in the public interface; without it the lock ends a moment early after kill -9.
      const fd = Reflect.get(server, '_handle')?.fd
      resolve({
        fd: typeof fd === 'number' && fd >= 0 ? fd : undefined,
        close: () => {
          server.close()
          for (const socket of waiting) socket.destroy()
        },
      })
    })
    server.unref()
  })
}

/** Resolves when the holder's socket closes. @param {string} address @param {number} deadline */
function holderGone(address, deadline) {
  return new Promise((resolve) => {
    const socket = connect(address)
    const done = () => {
      clearTimeout(timer)
      socket.destroy()
      // A little later, so that a holder which goes on without accepting is not asked at once.
      setTimeout(resolve, 100)
    }
    const timer = setTimeout(done, Math.max(0, deadline - Date.now()))
    socket.on('error', (/** @type {NodeJS.ErrnoException} */ error) => {
      if (error.code === 'ECONNREFUSED' && !address.startsWith('\0')) {
        try {
          unlinkSync(address)
        } catch {
          // Somebody else has just replaced it.
        }
      }
    })
    socket.on('close', done)
    socket.resume()
  })
}
