/**
 * MACs of credential and grant rows: what makes a writer in the database unable to grant himself a
 * credential, point it at an older version or bring a deleted one back.
 */
import {
  deriveKey,
  rowMac,
  rowMacMatches,
  type Columns,
  type Key,
} from '../../platform/crypto/index.ts'
import type { CredentialRecord } from './credential.ts'

/** A credential without its grants: those are rows of their own. */
export type CredentialColumns = Omit<CredentialRecord, 'services'>

export interface GrantColumns {
  readonly credentialId: string
  readonly service: string
  readonly grantsRevision: number
}

export class RowAuthentication {
  readonly #key: Key

  constructor(rootKey: Key, houseId: string) {
    this.#key = deriveKey(rootKey, 'haus/credentials/rows/v1', Buffer.from(houseId))
  }

  credentialMac(columns: CredentialColumns): Buffer {
    return rowMac(this.#key, 'credential', credentialColumns(columns))
  }

  isCredential(columns: CredentialColumns, mac: Uint8Array): boolean {
    return holds(() => rowMacMatches(this.#key, 'credential', credentialColumns(columns), mac))
  }

  grantMac(columns: GrantColumns): Buffer {
    return rowMac(this.#key, 'credential_grant', grantColumns(columns))
  }

  isGrant(columns: GrantColumns, mac: Uint8Array): boolean {
    return holds(() => rowMacMatches(this.#key, 'credential_grant', grantColumns(columns), mac))
  }
}

/** A forged row can hold what no encoding takes, such as the time `infinity`: that is a failed check too. */
function holds(check: () => boolean): boolean {
  try {
    return check()
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError) return false
    throw error
  }
}

function credentialColumns(columns: CredentialColumns): Columns {
  return {
    id: columns.id,
    name: columns.name,
    currentVersion: columns.version,
    revision: columns.revision,
    grantsRevision: columns.grantsRevision,
    description: columns.description,
    expiresAt: columns.expiresAt,
    cacheTtlSeconds: columns.cacheTtlSeconds,
    valueNames: columns.keys,
    createdAt: columns.createdAt,
    updatedAt: columns.updatedAt,
    deletedAt: columns.deletedAt,
  }
}

function grantColumns(columns: GrantColumns): Columns {
  return {
    credentialId: columns.credentialId,
    service: columns.service,
    grantsRevision: columns.grantsRevision,
  }
}
