/**
 * A table that fits the terminal: columns as wide as what is in them, and when there is not enough
 * room, the columns that may be cut are cut, the widest first. Not on a terminal nothing is cut,
 * because another program reads it.
 */
import type { Look } from '../surroundings.ts'
import type { Tone } from './colour.ts'
import { toned } from './colour.ts'
import { cutText, padText, plainText, textWidth } from './text-width.ts'

export interface Cell {
  readonly text: string
  readonly tone?: Tone | undefined
}

export interface Column {
  readonly title: string
  readonly align?: 'left' | 'right'
  /** May be cut when there is not enough room; `first`: before all others. */
  readonly flexible?: boolean | 'first'
}

export interface TableLook extends Look {
  /** Undefined: as wide as it gets. */
  readonly columns: number | undefined
}

const gap = '  '
/** Less than this says nothing. */
const flexibleMin = 8

export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly (Cell | string)[])[],
  look: TableLook,
): string {
  const cells = rows.map((row) =>
    columns.map((_, place): Cell => {
      const cell = row[place] ?? ''
      const { text, tone } = typeof cell === 'string' ? { text: cell, tone: undefined } : cell
      return { text: text === '' ? '-' : plainText(text), tone: text === '' ? 'quiet' : tone }
    }),
  )
  const widths = columns.map(({ title }, place) =>
    Math.max(title.length, ...cells.map((row) => textWidth(row[place]?.text ?? ''))),
  )
  if (look.columns !== undefined) fit(widths, columns, look.columns)

  const mark = look.unicode ? '…' : '...'
  const line = (row: readonly Cell[]): string => {
    const last = columns.length - 1
    return row
      .map(({ text, tone }, place) => {
        const width = widths[place] ?? 0
        const cut = cutText(text, width, mark)
        const side = columns[place]?.align ?? 'left'
        const padded = place === last && side === 'left' ? cut : padText(cut, width, side)
        return toned(padded, tone, look)
      })
      .join(gap)
      .trimEnd()
  }
  const head = line(columns.map(({ title }) => ({ text: title, tone: 'quiet' })))
  return `${[head, ...cells.map((row) => line(row))].join('\n')}\n`
}

function fit(widths: number[], columns: readonly Column[], room: number): void {
  const total = (): number =>
    widths.reduce((sum, width) => sum + width, 0) + gap.length * (widths.length - 1)
  for (let over = total() - room; over > 0; over = total() - room) {
    const widest = widestOf('first') ?? widestOf(true)
    // Nothing left to give: the terminal wraps, which loses nothing.
    if (widest === undefined) return
    widths[widest] = (widths[widest] ?? 0) - 1
  }

  function widestOf(kind: Column['flexible']): number | undefined {
    let found: number | undefined
    for (const [place, width] of widths.entries()) {
      const min = Math.max(flexibleMin, columns[place]?.title.length ?? 0)
      if (columns[place]?.flexible !== kind || width <= min) continue
      if (found === undefined || width > (widths[found] ?? 0)) found = place
    }
    return found
  }
}

/** Names and values below each other, for one thing. */
export function renderFields(
  fields: readonly (readonly [name: string, value: Cell | string | null])[],
  look: Look,
): string {
  const shown = fields.filter(([, value]) => value !== null)
  const width = Math.max(0, ...shown.map(([name]) => name.length))
  return shown
    .map(([name, value]) => {
      const cell = typeof value === 'string' || value === null ? { text: value ?? '' } : value
      const tone = 'tone' in cell ? cell.tone : undefined
      return `  ${toned(name.padEnd(width), 'quiet', look)}  ${toned(plainText(cell.text), tone, look)}\n`
    })
    .join('')
}
