/** How much room text takes on a terminal, and how it is made to fit. */

/** East Asian wide and fullwidth forms, and pictures: two columns each. */
const wide =
  /\p{Emoji_Presentation}|[\u1100-\u115F\u2E80-\uA4CF\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF00-\uFF60\uFFE0-\uFFE6]/u
/** Marks that sit on the letter before, and what is not drawn at all. */
const widthless = /^[\p{M}\p{Cf}]/u

/** Made at the first text that needs it: the tables behind it take 20 ms. */
let segmenter: Intl.Segmenter | undefined
function* graphemesOf(text: string): Generator<string> {
  segmenter ??= new Intl.Segmenter(undefined, { granularity: 'grapheme' })
  for (const { segment } of segmenter.segment(text)) yield segment
}

const plainAscii = /^[\x20-\x7e]*$/

export function textWidth(text: string): number {
  // Nearly everything the house says is plain ASCII.
  if (plainAscii.test(text)) return text.length
  let width = 0
  for (const segment of graphemesOf(text)) {
    width += wide.test(segment) ? 2 : widthless.test(segment) ? 0 : 1
  }
  return width
}

/** At most `width` columns; what is cut off is shown by `mark`. */
export function cutText(text: string, width: number, mark: string): string {
  if (textWidth(text) <= width) return text
  const room = width - textWidth(mark)
  if (room <= 0) return mark.slice(0, Math.max(0, width))
  if (plainAscii.test(text)) return text.slice(0, room) + mark
  let cut = ''
  let used = 0
  for (const segment of graphemesOf(text)) {
    const own = textWidth(segment)
    if (used + own > room) break
    cut += segment
    used += own
  }
  return cut + mark
}

export function padText(text: string, width: number, side: 'left' | 'right'): string {
  const room = ' '.repeat(Math.max(0, width - textWidth(text)))
  return side === 'left' ? text + room : room + text
}

/**
 * Text that somebody else wrote, made harmless: a reason or a name with control characters could
 * move the cursor, change colours or answer for the person. Shown as visible escapes instead.
 */
export function plainText(text: string): string {
  return text.replaceAll(
    /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, // oxlint-disable-line eslint/no-control-regex -- these are what it is about
    (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  )
}

/** Every line begins with `indent`. */
export function wrapText(text: string, width: number, indent: string): string {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`
    if (line !== '' && indent.length + textWidth(longer) > width) {
      lines.push(line)
      line = word
    } else line = longer
  }
  lines.push(line)
  return lines.map((each) => indent + each).join('\n')
}
