/** What a person at a terminal sees when the house has opened. */
import type { Opened } from './haus.ts'

export function bannerOf(opened: Opened): string {
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

  Next:  curl -H "Authorization: Bearer $(cat ${quoted(operatorTokenFile)})" ${api}/api/services

`
}

function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`
}
