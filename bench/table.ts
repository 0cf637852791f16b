/** Prints outcomes for people: aligned, with the bars last, since they are what a run is judged by. */
import { isMet, type Bar, type Figure, type Outcome } from './scenario.ts'

export function tableOf({ figures, bars }: Outcome): string {
  const lines: string[] = []
  const nameWidth = Math.max(...[...figures, ...bars].map(({ name }) => name.length))
  let group = ''
  for (const figure of figures) {
    if (figure.group !== group) {
      lines.push('', figure.group)
      group = figure.group
    }
    lines.push(`  ${figure.name.padEnd(nameWidth)}  ${valueOf(figure).padStart(10)} ${figure.unit}`)
  }
  lines.push('', 'bars')
  for (const bar of bars) {
    const value = `${bar.name.padEnd(nameWidth)}  ${valueOf(bar).padStart(10)} ${bar.unit}`
    lines.push(
      `  ${value.padEnd(nameWidth + 18)}${isMet(bar) ? 'met' : 'MISSED'}  (${limitOf(bar)})`,
    )
  }
  return `${lines.join('\n')}\n`
}

function limitOf({ atLeast, atMost, unit }: Bar): string {
  const limit = atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast}`
  return `${limit} ${unit}`.trim()
}

export function valueOf({ value }: Pick<Figure, 'value'>): string {
  const digits =
    Number.isInteger(value) || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2
  return value.toLocaleString('en-US', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  })
}
