/**
 * Makes the archive that a new house's embedded database starts from, and checks the committed one.
 *
 * Run it after changing the pinned PGlite version. The result differs from run to run (PostgreSQL
 * stamps each cluster), so `--check` compares the manifest with the archive and the pin instead of
 * building a second one.
 */
import { createHash } from 'node:crypto'
import fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { constants, zstdCompressSync } from 'node:zlib'
import { PGlite } from '@electric-sql/pglite'
import { postgresMajor } from '../services/zimmer-13-api-coordinator/src/platform/database/embedded/seed.ts'
import {
  tarBlocks,
  tarEnd,
} from '../services/zimmer-13-api-coordinator/src/platform/database/embedded/tar.ts'

const folder = new URL(
  '../services/zimmer-13-api-coordinator/src/platform/database/embedded/seed/',
  import.meta.url,
)
const archiveFile = new URL('cluster.tar.zst', folder)
const manifestFile = new URL('manifest.json', folder)

interface SeedManifest {
  readonly pglite: string
  readonly postgresMajor: string
  readonly sha256: string
  readonly sizeBytes: number
}

/** A sentence per disagreement between manifest, archive, code and pin; empty when all is well. */
export async function checkSeed(): Promise<string[]> {
  const manifest = await readManifest()
  if (!manifest) return ['the seed manifest is missing or malformed: run scripts/generate-seed.ts']
  const archive = await fs.readFile(archiveFile)
  const pinned = await pinnedVersion()
  const findings: string[] = []
  const compare = (what: string, recorded: unknown, actual: unknown): void => {
    if (recorded !== actual) {
      findings.push(
        `the seed's manifest says ${what} ${String(recorded)}, found ${String(actual)}: run scripts/generate-seed.ts`,
      )
    }
  }
  compare('PGlite', manifest.pglite, await installedVersion())
  compare('PGlite', manifest.pglite, pinned)
  compare('PostgreSQL', manifest.postgresMajor, postgresMajor)
  compare('sha256', manifest.sha256, sha256(archive))
  compare('sizeBytes', manifest.sizeBytes, archive.length)
  return findings
}

export async function generateSeed(): Promise<SeedManifest> {
  const work = await fs.mkdtemp(path.join(tmpdir(), 'haus-seed-'))
  try {
    const directory = path.join(work, 'cluster')
    await fs.mkdir(directory)
    await initialise(directory)
    const archive = await pack(directory)
    const manifest: SeedManifest = {
      pglite: await installedVersion(),
      postgresMajor: (await fs.readFile(path.join(directory, 'PG_VERSION'), 'utf8')).trim(),
      sha256: sha256(archive),
      sizeBytes: archive.length,
    }
    await fs.mkdir(folder, { recursive: true })
    await fs.writeFile(archiveFile, archive)
    await fs.writeFile(manifestFile, `${JSON.stringify(manifest, null, 2)}\n`)
    return manifest
  } finally {
    await fs.rm(work, { recursive: true, force: true })
  }
}

/** Runs initdb inside PGlite, then leaves one database, frozen, and one nearly empty WAL segment. */
async function initialise(directory: string): Promise<void> {
  const db = await PGlite.create(directory)
  // Nothing is ever made from the templates here. Left in place they are two thirds of the size,
  // and with no autovacuum to freeze them they would stop the house after 2 billion transactions.
  for (const template of ['template0', 'template1']) {
    await db.query('update pg_database set datistemplate = false where datname = $1', [template])
    await db.exec(`drop database ${template}`)
  }
  await db.exec('vacuum (freeze, analyze)')
  await db.exec('select pg_switch_wal()')
  await db.exec('checkpoint')
  const { rows } = await db.query<{ segment: string }>(
    'select pg_walfile_name(pg_current_wal_lsn()) as segment',
  )
  const segment = rows[0]?.segment
  if (!segment) throw new Error('PGlite does not say which WAL segment it writes')
  await db.close()
  // Older segments are done with and newer ones are empty spares.
  const wal = path.join(directory, 'pg_wal')
  for (const name of await fs.readdir(wal)) {
    if (/^[0-9A-F]{24}$/.test(name) && name !== segment) await fs.rm(path.join(wal, name))
  }
}

async function pack(directory: string): Promise<Buffer> {
  const entries = await fs.readdir(directory, { recursive: true, withFileTypes: true })
  const paths = entries
    .filter((entry) => entry.isDirectory() || entry.isFile())
    .map((entry) => ({
      name: path.relative(directory, path.join(entry.parentPath, entry.name)),
      isFolder: entry.isDirectory(),
    }))
    .filter(({ name }) => name !== 'postmaster.pid')
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
  const blocks: Buffer[] = []
  for (const { name, isFolder } of paths) {
    const content = isFolder ? undefined : await fs.readFile(path.join(directory, name))
    blocks.push(...tarBlocks(name.replaceAll(path.sep, '/'), content))
  }
  blocks.push(tarEnd)
  return zstdCompressSync(Buffer.concat(blocks), {
    params: {
      [constants.ZSTD_c_compressionLevel]: 19,
      // 8 MiB: the reader holds one window in memory.
      [constants.ZSTD_c_windowLog]: 23,
      [constants.ZSTD_c_checksumFlag]: 1,
    },
  })
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** PGlite does not export its package.json, so it is found from the entry point: dist/index.js. */
async function installedVersion(): Promise<string> {
  const file = new URL('../package.json', import.meta.resolve('@electric-sql/pglite'))
  return String(property(JSON.parse(await fs.readFile(file, 'utf8')), 'version'))
}

async function pinnedVersion(): Promise<string> {
  const file = new URL('../services/zimmer-13-api-coordinator/package.json', import.meta.url)
  const found: unknown = JSON.parse(await fs.readFile(file, 'utf8'))
  const dependencies = property(found, 'dependencies')
  return String(property(dependencies, '@electric-sql/pglite'))
}

function property(value: unknown, name: string): unknown {
  return value instanceof Object
    ? Object.entries(value).find(([key]) => key === name)?.[1]
    : undefined
}

async function readManifest(): Promise<SeedManifest | undefined> {
  const text = await fs.readFile(manifestFile, 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const found: unknown = JSON.parse(text)
  const sizeBytes = property(found, 'sizeBytes')
  if (typeof sizeBytes !== 'number') return undefined
  return {
    pglite: String(property(found, 'pglite')),
    postgresMajor: String(property(found, 'postgresMajor')),
    sha256: String(property(found, 'sha256')),
    sizeBytes,
  }
}

if (import.meta.main) {
  if (process.argv.includes('--check')) {
    const findings = await checkSeed()
    for (const finding of findings) console.error(finding)
    process.exitCode = findings.length > 0 ? 1 : 0
  } else {
    console.log(await generateSeed())
  }
}
