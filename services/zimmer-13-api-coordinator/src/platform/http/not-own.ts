/** The refusal to act for another service, in one wording wherever it is noticed. */
import { HausError } from '@haus/contract'

/** A path may hold any text as a name; no service's is longer than 63. */
const shownMaxChars = 64

/** `field`: where the other service is named. `own`: the service that the token speaks for. */
export function notOwn(field: string, named: string, own: string): HausError {
  const shown = named.length > shownMaxChars ? `${named.slice(0, shownMaxChars)}…` : named
  const detail = `is "${shown.toWellFormed()}", and this token is that of "${own}": send "${own}", or ask an operator`
  return new HausError('forbidden', `${field} ${detail}.`, { fields: [{ field, detail }] })
}
