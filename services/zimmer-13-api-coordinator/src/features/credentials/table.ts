/** Rows of credentials. Values are only ever in `credential_version.blob`, encrypted. */
export interface CredentialTables {
  key_encryption_key: { version: number; wrapped: Buffer; created_at: Date }
  credential: {
    id: string
    name: string
    current_version: number
    /** Counts every change of the row; the guard of updates. */
    revision: number
    /** The revision that last set the grants. Their MACs name it, so that a grant once removed stays removed. */
    grants_revision: number
    description: string | null
    expires_at: Date | null
    cache_ttl_seconds: number
    /** The names of the values. */
    value_names: string[]
    created_at: Date
    updated_at: Date
    deleted_at: Date | null
    /** Over every column above. */
    mac: Buffer
  }
  credential_version: {
    credential_id: string
    version: number
    kek_version: number
    wrapped_key: Buffer
    blob: Buffer
    created_at: Date
  }
  credential_grant: {
    credential_id: string
    service: string
    created_at: Date
    /** Over credential, service and the credential's `grants_revision`. */
    mac: Buffer
  }
}
