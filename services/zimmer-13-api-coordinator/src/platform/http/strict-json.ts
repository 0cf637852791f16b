/**
 * JSON as strictly as a house of keys needs it. `JSON.parse` alone lets the last of two equal keys
 * win (a proxy in front may have checked the first), accepts `__proto__`, turns bytes that are not
 * UTF-8 into U+FFFD, and numbers that it cannot hold into others. All of these are refused here,
 * naming the place; nothing of the text is ever quoted back, since it may be a secret.
 */
import { HausError } from '@haus/contract'

/** The deepest document of the contract has 5 levels; configuration data is free, and 32 is ample. */
export const jsonDepthMax = 32

/** The pointer to the document itself: before it is parsed, no part of it can be named. */
export const wholeBody = ''

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export function parseJson(bytes: Uint8Array): unknown {
  const text = decodeUtf8(bytes)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw syntaxError(text, error)
  }
  checkStructure(text)
  // Raw control characters are a syntax error and raw surrogates are not UTF-8, so only an escape
  // can smuggle them in: most bodies have none and skip the walk.
  if (text.includes('\\u')) checkStrings(value, [])
  return value
}

/** @throws HausError invalid_encoding */
export function decodeUtf8(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes)
  } catch (cause) {
    throw new HausError('invalid_encoding', 'Send the body as UTF-8: it has bytes that are not.', {
      cause,
      fields: [{ field: wholeBody, detail: 'must be UTF-8' }],
    })
  }
}

function syntaxError(text: string, error: unknown): HausError {
  // The engine's message quotes the text around the fault; only the position in it is safe.
  const found = error instanceof Error ? /at position (\d+)/.exec(error.message)?.[1] : undefined
  const position = found === undefined ? text.length : Number(found)
  const before = text.slice(0, position)
  const line = before.split('\n').length
  const column = position - before.lastIndexOf('\n')
  const detail =
    text.trim() === ''
      ? 'is empty; send a JSON object'
      : `is not valid JSON: look at line ${line}, column ${column}`
  return new HausError('invalid_json', `The body ${detail}.`, {
    fields: [{ field: wholeBody, detail }],
  })
}

const quote = 0x22
const backslash = 0x5c
const minus = 0x2d
const zero = 0x30
const nine = 0x39

/**
 * Duplicate keys, `__proto__`, numbers and depth, in one pass over text that is known to be valid JSON.
 * Each open object has the set of its keys, each open array null; `path` has one more entry than
 * is open below the root.
 */
function checkStructure(text: string): void {
  const open: (Set<string> | null)[] = []
  const path: (string | number)[] = []
  let position = 0
  while (position < text.length) {
    const char = text.charCodeAt(position)
    if (char === quote) {
      const end = stringEnd(text, position)
      const keys = open.at(-1)
      if (keys !== undefined && keys !== null && isKey(text, end)) {
        const raw = text.slice(position + 1, end - 1)
        const key = raw.includes('\\') ? String(JSON.parse(text.slice(position, end))) : raw
        path[path.length - 1] = key
        if (keys.has(key)) {
          const field = pointerOf(path)
          throw new HausError('duplicate_key', `${field} is there twice; keep one.`, {
            fields: [{ field, detail: 'is there twice; keep one' }],
          })
        }
        if (key === '__proto__') throw refused(path, 'is not a name that Haus takes')
        keys.add(key)
      }
      position = end
      continue
    }
    if (char === minus || (char >= zero && char <= nine)) {
      const end = numberEnd(text, position)
      if (!holds(text.slice(position, end))) {
        throw refused(path, 'is a number that JSON cannot carry exactly; send it as a string')
      }
      position = end
      continue
    }
    if (char === 0x7b || char === 0x5b) {
      if (open.length === jsonDepthMax) {
        throw refused(path, `nests deeper than ${jsonDepthMax} levels; make it flatter`)
      }
      open.push(char === 0x7b ? new Set() : null)
      path.push(char === 0x7b ? '' : 0)
    } else if (char === 0x7d || char === 0x5d) {
      open.pop()
      path.pop()
    } else if (char === 0x2c) {
      const place = path.at(-1)
      if (typeof place === 'number') path[path.length - 1] = place + 1
    }
    position += 1
  }
}

/** The position after the closing quote of the string that begins at `start`. */
function stringEnd(text: string, start: number): number {
  let position = start + 1
  for (;;) {
    const char = text.charCodeAt(position)
    if (char === quote) return position + 1
    position += char === backslash ? 2 : 1
  }
}

const numberPattern = /[-+.0-9Ee]+/y

/** The position after the number that begins at `start`. */
function numberEnd(text: string, start: number): number {
  numberPattern.lastIndex = start
  numberPattern.test(text)
  return numberPattern.lastIndex
}

/** False for what is infinite to a double, and for a whole number that would come out as another (RFC 8259 section 6). */
function holds(number: string): boolean {
  const value = Number(number)
  if (!/^-?\d+$/.test(number)) return Number.isFinite(value)
  return Number.isSafeInteger(value) || String(value) === number
}

function isKey(text: string, end: number): boolean {
  let position = end
  for (;;) {
    const char = text.charCodeAt(position)
    if (char === 0x3a) return true
    if (char !== 0x20 && char !== 0x0a && char !== 0x0d && char !== 0x09) return false
    position += 1
  }
}

function checkStrings(value: unknown, path: (string | number)[]): void {
  if (typeof value === 'string') {
    checkText(value, path)
  } else if (Array.isArray(value)) {
    for (const [place, item] of value.entries()) {
      path.push(place)
      checkStrings(item, path)
      path.pop()
    }
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      checkText(key, path)
      path.push(key)
      checkStrings(item, path)
      path.pop()
    }
  }
}

function checkText(text: string, path: readonly (string | number)[]): void {
  const fault = textFault(text)
  if (fault !== null) throw refused(path, fault)
}

/** What no text of the contract may hold: PostgreSQL cannot store NUL, and UTF-8 has no lone surrogates. */
export function textFault(text: string): string | null {
  if (text.includes('\0')) return 'must not contain NUL'
  if (!text.isWellFormed()) return 'must not contain half of a surrogate pair'
  return null
}

function refused(path: readonly (string | number)[], detail: string): HausError {
  const field = pointerOf(path)
  return new HausError('invalid_request', `${field === '' ? 'The body' : field} ${detail}.`, {
    fields: [{ field, detail }],
  })
}

/** RFC 6901. Long keys are cut: a pointer is for reading. */
export function pointerOf(path: readonly (string | number)[]): string {
  return path.map((step) => `/${pointerStep(String(step))}`).join('')
}

export function pointerStep(step: string): string {
  const short = step.length > 64 ? `${step.slice(0, 64)}…` : step
  return short.toWellFormed().replaceAll('~', '~0').replaceAll('/', '~1')
}
