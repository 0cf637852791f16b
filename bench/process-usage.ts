/** CPU time and memory of processes, as Linux accounts for them. Threads are part of their process. */
import fs from 'node:fs'

/** `_SC_CLK_TCK`, which is 100 on every Linux that Node runs on. */
const tickMs = 10

/** User and system time of these processes, with their threads and the children they have reaped. */
export function cpuMsOf(pids: readonly number[]): number {
  let ticks = 0
  for (const pid of pids) {
    const fields = statOf(pid)
    // utime, stime, cutime, cstime
    for (const place of [11, 12, 13, 14]) ticks += Number(fields?.[place] ?? 0)
  }
  return ticks * tickMs
}

/** The process and everything below it, now. */
export function processTree(root: number): number[] {
  const childrenOf = new Map<number, number[]>()
  for (const entry of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const pid = Number(entry)
    const parent = Number(statOf(pid)?.[1])
    childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), pid])
  }
  const tree = [root]
  for (const pid of tree) tree.push(...(childrenOf.get(pid) ?? []))
  return tree
}

export interface Memory {
  /** Pages that several processes share count once for each. */
  readonly rssMb: number
  /** Shared pages count once in all. */
  readonly pssMb: number
  readonly processes: number
}

export function memoryOf(pids: readonly number[]): Memory {
  let rssKb = 0
  let pssKb = 0
  let processes = 0
  for (const pid of pids) {
    const rss = kbIn(`/proc/${pid}/status`, 'VmRSS')
    if (rss === 0) continue
    processes += 1
    rssKb += rss
    pssKb += kbIn(`/proc/${pid}/smaps_rollup`, 'Pss')
  }
  return { rssMb: rssKb / 1024, pssMb: pssKb / 1024, processes }
}

/** The fields of `/proc/<pid>/stat` from the state on; the name before may hold anything. */
function statOf(pid: number): string[] | undefined {
  const text = readIfThere(`/proc/${pid}/stat`)
  return text?.slice(text.lastIndexOf(') ') + 2).split(' ')
}

function kbIn(file: string, field: string): number {
  const value = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readIfThere(file) ?? '')?.[1]
  return Number(value ?? 0)
}

/** A process may be gone by the time it is looked at. */
function readIfThere(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}
