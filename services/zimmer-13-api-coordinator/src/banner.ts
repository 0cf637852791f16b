/** What a person at a terminal sees when the house has opened. */
import path from 'node:path'
import type { Opened } from './haus.ts'

/** `folder` is where the person is. */
export function bannerOf(opened: Opened, folder: string): string {
  const { version, api, gateway, dataDir, isNew, database, operatorTokenFile } = opened
  const rows: [string, string][] = [
    ['API', api],
    ['Gateway', gateway],
    ['Reference', `${api}/docs`],
    ['Data', `${dataDir} (${isNew ? 'a new house' : 'an existing house'}, ${database})`],
    ['Operator token', operatorTokenFile],
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  return `
  Haus ${version} is open.

${rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join('\n')}

  Next:  ${nextCommand(dataDir, folder)}

`
}

/** In a second terminal, in the same folder. */
function nextCommand(dataDir: string, folder: string): string {
  const named = dataDir === path.join(folder, '.haus') ? '' : `HAUS_DATA_DIR=${quoted(dataDir)} `
  return `${named}npx haus status`
}

function quoted(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
