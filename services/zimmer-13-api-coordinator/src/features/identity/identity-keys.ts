/**
 * The keys of identity, each derived from the house's root for one purpose, and what exactly they
 * authenticate. A label or a column list that changes makes every row of that kind foreign, so a
 * change is a new version and a migration.
 *
 * What a writer in the database can do, and what is caught:
 *
 * | He writes                                          | What happens                            |
 * |----------------------------------------------------|-----------------------------------------|
 * | a new service key or operator token                | refused, reported                       |
 * | another service, secret, creation time in a key    | refused, reported                       |
 * | `revoked_at` back to null, or another time         | refused, reported                       |
 * | one key's secret hash or MAC into another's row    | refused, reported                       |
 * | a row of another house, also one with the same key | refused, reported                       |
 * | another house id                                   | the house does not open                 |
 * | no house row at all                                | the house does not open                 |
 * | a revoked key's whole former row, while running    | refused, reported: revoked stays so     |
 * | a whole former row, before a start                 | not caught yet: needs a head over rows  |
 * | deleting rows                                      | not caught yet; it takes rights away    |
 */
import {
  deriveKey,
  mac,
  rowMac,
  rowMacMatches,
  Secret,
  type Columns,
  type Key,
} from '../../platform/crypto/index.ts'

export interface IdentityKeys {
  readonly rows: Key
  readonly operatorTokens: Key
  readonly clientSecrets: Key
  readonly tokenSeed: Key
  readonly metricsToken: Secret
}

export const operatorTokenPrefix = 'haus_op_'
export const metricsTokenPrefix = 'haus_mt_'
export const clientSecretPrefix = 'hsk_'

export function deriveIdentityKeys(rootKey: Key): IdentityKeys {
  const metrics = deriveKey(rootKey, 'haus/metrics-token/v1').reveal().toString('base64url')
  return {
    rows: deriveKey(rootKey, 'haus/identity-rows/v1'),
    operatorTokens: deriveKey(rootKey, 'haus/operator-token-hashes/v1'),
    clientSecrets: deriveKey(rootKey, 'haus/client-secret-hashes/v1'),
    tokenSeed: deriveKey(rootKey, 'haus/token-signature-seed/v1'),
    metricsToken: new Secret(`${metricsTokenPrefix}${metrics}`),
  }
}

/** What is presented may be any text, so bytes: text that is not well-formed is just wrong. */
export function hashOperatorToken(keys: IdentityKeys, token: string): Buffer {
  return mac(keys.operatorTokens, Buffer.from(token))
}

/** Bound to the client id, so that a hash cannot serve in another row. */
export function hashClientSecret(keys: IdentityKeys, clientId: string, secret: string): Buffer {
  return mac(keys.clientSecrets, Buffer.from(clientId), Buffer.from(secret))
}

export interface OperatorTokenRow {
  readonly id: string
  readonly tokenHash: Buffer
  readonly createdAt: Date
}

export interface ServiceKeyRow {
  readonly clientId: string
  readonly service: string
  readonly secretHash: Buffer
  readonly createdAt: Date
  readonly revokedAt: Date | null
}

const operatorTokenColumns = ({ id, tokenHash, createdAt }: OperatorTokenRow): Columns => ({
  id,
  tokenHash,
  createdAt,
})

const serviceKeyColumns = (row: ServiceKeyRow): Columns => ({
  clientId: row.clientId,
  service: row.service,
  secretHash: row.secretHash,
  createdAt: row.createdAt,
  revokedAt: row.revokedAt,
})

export function macOfOperatorToken(keys: IdentityKeys, row: OperatorTokenRow): Buffer {
  return rowMac(keys.rows, 'operator_token', operatorTokenColumns(row))
}

export function isOperatorTokenOurs(
  keys: IdentityKeys,
  row: OperatorTokenRow,
  found: Buffer,
): boolean {
  return rowMacMatches(keys.rows, 'operator_token', operatorTokenColumns(row), found)
}

export function macOfServiceKey(keys: IdentityKeys, row: ServiceKeyRow): Buffer {
  return rowMac(keys.rows, 'service_key', serviceKeyColumns(row))
}

export function isServiceKeyOurs(keys: IdentityKeys, row: ServiceKeyRow, found: Buffer): boolean {
  return rowMacMatches(keys.rows, 'service_key', serviceKeyColumns(row), found)
}
