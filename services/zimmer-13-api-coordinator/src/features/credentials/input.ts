/** What schemas cannot say about the fields of a credential. Values are never quoted. */
import { credentialDataMaxBytes, HausError, reservedServiceNames } from '@haus/contract'
import { formatValues, type Values } from './prepared-answer.ts'

/** @throws HausError invalid_request */
export function parseValuesField(data: Values): Buffer {
  const bytes = formatValues(data)
  if (bytes.length <= credentialDataMaxBytes) return bytes
  const { length } = bytes
  bytes.fill(0)
  throw invalid(
    '/data',
    `must have at most ${credentialDataMaxBytes} bytes as JSON, and has ${length}`,
  )
}

/** @throws HausError invalid_request */
export function parseExpiry(text: string): Date {
  const time = new Date(text)
  // `new Date` turns 30 February into 2 March without a word.
  const exists = !Number.isNaN(time.getTime()) && time.toISOString().startsWith(text.slice(0, 19))
  if (!exists || time.getTime() < 0) throw invalid('/expiresAt', 'must be a time that exists')
  return time
}

/** @throws HausError invalid_request */
export function parseFutureExpiry(text: string, now: Date): Date {
  const time = parseExpiry(text)
  if (time > now) return time
  throw invalid(
    '/expiresAt',
    'must be in the future: a credential that has expired is never handed out',
  )
}

/**
 * Canonical, without repeats, sorted.
 * @throws HausError invalid_request
 */
export function parseServices(
  names: readonly string[],
  canonicalService: (name: string) => string,
): string[] {
  for (const [place, name] of names.entries()) {
    if (reservedServiceNames.has(name)) {
      throw invalid(`/services/${place}`, `must not be "${name}": no service can have that name`)
    }
  }
  return [...new Set(names.map(canonicalService))].toSorted()
}

export function invalid(field: string, detail: string): HausError {
  const subject = field === '' ? 'The body' : field
  return new HausError('invalid_request', `${subject} ${detail}.`, { fields: [{ field, detail }] })
}
