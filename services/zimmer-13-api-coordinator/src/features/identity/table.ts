/** Rows of identity. Each row carries a MAC over its meaning, so that a writer in the database cannot add himself. */
export interface IdentityTables {
  operator_token: {
    id: string
    /** HMAC of the token under a key derived from the root. */
    token_hash: Buffer
    created_at: Date
    mac: Buffer
  }
  service_key: {
    client_id: string
    service: string
    secret_hash: Buffer
    created_at: Date
    revoked_at: Date | null
    mac: Buffer
  }
}
