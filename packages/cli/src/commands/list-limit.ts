/** Lists come whole, up to a number that a person or a script can raise. */
import type { Option } from '../command.ts'
import type { Page } from '../house.ts'
import type { Screen } from '../output/screen.ts'
import type { ParsedArguments } from '../parse-arguments.ts'

const limitDefault = 1000
/** A limit of our own memory: a million audit records are some 500 MB of JSON. */
const limitMax = 1_000_000

export const limitOption: Option = {
  name: 'limit',
  value: 'N',
  summary: `at most so many (default ${limitDefault})`,
}

export function limitOf(args: ParsedArguments, fallback = limitDefault): number {
  return args.integer('limit', { min: 1, max: limitMax }) ?? fallback
}

export function noteMore(screen: Screen, page: Page<unknown>, limit: number): void {
  if (page.nextCursor !== null) screen.note(`There are more: --limit ${limit * 10} shows them.`)
}
