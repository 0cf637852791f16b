/**
 * What a program under `haus run` has been given: read from the folder that its environment names,
 * since a program that knows nothing of Haus cannot be asked.
 */
import fs from 'node:fs'
import path from 'node:path'
import { fingerprint, type Report } from './cast.ts'
import type { Program } from './programs.ts'

interface Credential {
  readonly version: number
  readonly data: Readonly<Record<string, string>>
}

export function heldInFiles(supervisor: Program | undefined): Report['held'] {
  if (!supervisor) throw new Error('there is no program under haus run')
  const folder = credentialsFolderOf(childOf(supervisor.pid))
  const names = fs.readdirSync(folder).filter((name) => !name.startsWith('.'))
  return Object.fromEntries(
    names.map((name) => {
      const text = fs.readFileSync(path.join(folder, name, '.credential.json'), 'utf8')
      const { version, data } = JSON.parse(text) as Credential
      return [name, { version, print: fingerprint(data['secret'] ?? '') }]
    }),
  )
}

function childOf(pid: number): number {
  const [child] = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
  return Number(child)
}

function credentialsFolderOf(pid: number): string {
  const environment = fs.readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')
  const entry = environment.find((line) => line.startsWith('HAUS_CREDENTIALS_DIR='))
  if (entry === undefined) throw new Error('HAUS_CREDENTIALS_DIR is not in its environment')
  return entry.slice(entry.indexOf('=') + 1)
}
