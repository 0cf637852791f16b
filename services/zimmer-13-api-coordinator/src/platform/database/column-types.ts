/**
 * How column values arrive, the same on both kinds: bigint as a safe number, timestamptz as Date,
 * jsonb as parsed JSON, bytea as Buffer. Numeric, date and timestamp without zone stay text,
 * because JavaScript has no type that holds them without loss or a hidden local time zone.
 */
import pg from 'pg'

const oids = { int8: 20, int8Array: 1016, date: 1082, timestamp: 1114 } as const

/** Rounding an index or a counter in silence would corrupt it: a value past 2^53 is an error. */
function parseBigint(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) {
    throw new RangeError(`bigint ${text} is outside the range that JavaScript holds exactly`)
  }
  return value
}

type ParseText = (text: string) => unknown

/** `{1,NULL,{2}}` is JSON but for its brackets; the digits are quoted so that none are rounded. */
function parseBigintArray(text: string): unknown {
  const json = text
    .replaceAll(/-?\d+/g, '"$&"')
    .replaceAll('{', '[')
    .replaceAll('}', ']')
    .replaceAll('NULL', 'null')
  const convert = (item: unknown): unknown => {
    if (Array.isArray(item)) return item.map(convert)
    return typeof item === 'string' ? parseBigint(item) : item
  }
  return convert(JSON.parse(json))
}

const textParsers = new Map<number, ParseText>([
  [oids.int8, parseBigint],
  [oids.int8Array, parseBigintArray],
  [oids.date, (text) => text],
  [oids.timestamp, (text) => text],
])

/** Given to each pool, so that no global of the driver is changed. */
export const columnTypes: pg.CustomTypesConfig = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') =>
    (format === 'binary' ? undefined : textParsers.get(oid)) ?? pg.types.getTypeParser(oid, format),
}
