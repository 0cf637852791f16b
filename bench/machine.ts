/** What the figures were measured on. A figure without its machine, date and revision is a rumour. */
import { execFile } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryMb: number
  readonly kernel: string
  readonly node: string
  readonly pglite: string
  /** Folders of the databases lie there. In memory, no figure about durability means anything. */
  readonly fileSystem: string
  readonly loadAverageAtStart: number
}

export interface Revision {
  readonly commit: string
  /** Files of the checkout differ from the commit. */
  readonly changed: boolean
}

const fileSystems: Readonly<Record<number, string>> = {
  0xef53: 'ext4',
  0x01021994: 'tmpfs (in memory)',
  0x58465342: 'xfs',
  0x9123683e: 'btrfs',
  0x794c7630: 'overlayfs',
}

export function describeMachine(root: string): Machine {
  const type = fs.statfsSync(os.tmpdir()).type
  return {
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memoryMb: Math.round(os.totalmem() / 2 ** 20),
    kernel: `${os.type()} ${os.release()}`,
    node: process.version,
    pglite: versionOf(path.join(root, 'node_modules/@electric-sql/pglite/package.json')),
    fileSystem: fileSystems[type] ?? `type 0x${type.toString(16)}`,
    loadAverageAtStart: Number((os.loadavg()[0] ?? 0).toFixed(2)),
  }
}

function versionOf(manifest: string): string {
  const parsed: { version?: string } = JSON.parse(fs.readFileSync(manifest, 'utf8'))
  return parsed.version ?? 'unknown'
}

export async function describeRevision(root: string): Promise<Revision> {
  const git = async (...args: string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)('git', args, { cwd: root })
    return stdout.trim()
  }
  try {
    // Results are written by the runs themselves.
    const status = await git('status', '--porcelain', '--', '.', ':!bench/results')
    return { commit: await git('rev-parse', 'HEAD'), changed: status !== '' }
  } catch {
    return { commit: 'not a git checkout', changed: true }
  }
}

const blockBytes = 8 * 1024
/** As PostgreSQL's log: a file of this size, written over in a circle, so that no write extends it. */
const blocks = 256

/** How often a second one writer can make 8 KiB durable, in the folder where the databases lie. */
export function measureDiskSyncsPerSecond(durationMs: number): number {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'haus-disk-'))
  const file = fs.openSync(path.join(folder, 'log'), 'w')
  try {
    const block = Buffer.alloc(blockBytes, 1)
    for (let place = 0; place < blocks; place += 1) fs.writeSync(file, block)
    fs.fsyncSync(file)
    const startedMs = performance.now()
    let count = 0
    while (performance.now() - startedMs < durationMs) {
      fs.writeSync(file, block, 0, blockBytes, (count % blocks) * blockBytes)
      fs.fdatasyncSync(file)
      count += 1
    }
    return count / ((performance.now() - startedMs) / 1000)
  } finally {
    fs.closeSync(file)
    fs.rmSync(folder, { recursive: true, force: true })
  }
}
