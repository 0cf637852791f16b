/** HTML from templates. What is put in is escaped, unless it is markup already. */

const isMarkup = Symbol('markup')

export interface Markup {
  readonly [isMarkup]: true
  readonly text: string
}

type Piece = Markup | string | number | null | readonly Piece[]

export function html(strings: TemplateStringsArray, ...pieces: readonly Piece[]): Markup {
  let text = strings[0] ?? ''
  for (const [place, piece] of pieces.entries()) {
    text += textOf(piece) + (strings[place + 1] ?? '')
  }
  return trusted(text)
}

/** Only for text of this program: a style sheet, a script. */
export function trusted(text: string): Markup {
  return { [isMarkup]: true, text }
}

/** A sentence of the contract: text between backticks is code. */
export function prose(text: string): Markup {
  return trusted(
    text
      .split('`')
      .map((part, place) => (place % 2 === 1 ? `<code>${escape(part)}</code>` : escape(part)))
      .join(''),
  )
}

function textOf(piece: Piece): string {
  if (piece === null) return ''
  if (typeof piece === 'string') return escape(piece)
  if (typeof piece === 'number') return String(piece)
  return 'text' in piece ? piece.text : piece.map(textOf).join('')
}

function escape(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;')
}
