/** One ordered, append-only list. Forward only: an old binary refuses a newer database instead of going back. */
import type { Migration } from 'kysely/migration'
import * as foundation from './0001-foundation.ts'
import * as checkHistory from './0002-check-history.ts'
import * as gateway from './0003-gateway.ts'
import * as aliasMac from './0004-alias-mac.ts'

export const migrations: Record<string, Migration> = {
  '0001-foundation': foundation,
  '0002-check-history': checkHistory,
  '0003-gateway': gateway,
  '0004-alias-mac': aliasMac,
}
