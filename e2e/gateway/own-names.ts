/** Host names of a test, for a house that is started with their environment. */
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { temporaryFolder } from '../harness.ts'

export interface OwnNames extends Disposable {
  readonly env: Readonly<Record<string, string>>
  /** From now on these names lead there, each to one address or several, separated by commas. */
  readonly lead: (names: Readonly<Record<string, string>>) => void
}

export function ownNames(): OwnNames {
  const folder = temporaryFolder()
  const file = path.join(folder, 'names.json')
  const preload = pathToFileURL(path.join(import.meta.dirname, 'own-names-preload.ts')).href
  const known: Record<string, string> = {}
  const lead = (names: Readonly<Record<string, string>>): void => {
    Object.assign(known, names)
    // Renamed into place: the house reads it at every lookup.
    fs.writeFileSync(`${file}.new`, JSON.stringify(known))
    fs.renameSync(`${file}.new`, file)
  }
  lead({})
  return {
    env: { NODE_OPTIONS: `--import=${preload}`, HAUS_TEST_NAMES_FILE: file },
    lead,
    [Symbol.dispose]: () => fs.rmSync(folder, { recursive: true, force: true }),
  }
}
